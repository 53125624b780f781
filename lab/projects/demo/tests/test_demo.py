"""Run against the installed wheel, not against the sources."""

import platform
import unittest

import lab_demo


class Demo(unittest.TestCase):
    def test_computes(self):
        assert lab_demo.sum_of_squares(10) == 385

    def test_is_compiled_for_this_python(self):
        assert lab_demo.compiled_for == platform.python_version()


if __name__ == "__main__":
    unittest.main()
