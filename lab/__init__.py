"""The world around a runner host, on one machine."""
