# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of actions that work on the declared projects and groups."""

from __future__ import annotations


class ModuleDocFragment:
    """The fragment; Ansible searches for this name."""

    DOCUMENTATION = r"""
options:
  projects:
    description: The projects.
    type: list
    elements: dict
    default: []
    suboptions:
      project:
        description: Its path.
        type: str
        required: true
      variables: &variables
        description: Its CI/CD variables; those that are not listed stay. Nothing for none at all.
        type: list
        elements: dict
        suboptions:
          key:
            description: The name. With O(projects[].variables[].environment) it is the identity.
            type: str
            required: true
          value:
            description: A text.
            type: raw
            required: true
          environment: &environment
            description: The environment scope, a name or a pattern.
            type: str
            default: "*"
          protected: &protected
            description: Whether only protected branches and tags get it.
            type: bool
            default: true
          masked: &masked
            description: Whether GitLab hides it in traces; by default true, and false for a file.
            type: bool
          hidden: &hidden
            description: Masked, and shown to nobody again. Needs GitLab 17.4.
            type: bool
            default: false
          raw: &raw
            description: Whether C($) in it is left alone.
            type: bool
            default: true
          type:
            description: V(file) for the path of a file with the value.
            type: str
            choices: [env_var, file]
            default: env_var
          description: &description
            description: A text for people.
            type: str
            default: ""
          replace: &replace
            description: Whether it may be deleted and made anew, which a change of hidden needs.
            type: bool
            default: false
      protected_tags:
        description: Names or patterns of tags, and who may create them.
        type: list
        elements: dict
        suboptions:
          name:
            description: Such as V(v*).
            type: str
            required: true
          create:
            description: Who may.
            type: str
            choices: [no one, developer, maintainer]
            default: maintainer
      protected_branches:
        description: Names or patterns of branches, and who may change them.
        type: list
        elements: dict
        suboptions:
          name:
            description: Such as V(main).
            type: str
            required: true
          push:
            description: Who may push.
            type: str
            choices: [no one, developer, maintainer]
            default: maintainer
          merge:
            description: Who may merge.
            type: str
            choices: [no one, developer, maintainer]
            default: maintainer
          force_push:
            description: Whether a push may lose commits.
            type: bool
            default: false
      environments:
        description: Environments; none is stopped or deleted. What is left out is left alone.
        type: list
        elements: dict
        suboptions:
          name:
            description: The name, which is the identity.
            type: str
            required: true
          tier:
            description: What it is for; GitLab guesses it from the name of a new one.
            type: str
            choices: [production, staging, testing, development, other]
          external_url:
            description: Where it is; empty for nowhere.
            type: str
          description:
            description: A text for people; left out where GitLab keeps none, as before 17.
            type: str
      job_token:
        description: Whose jobs may use their C(CI_JOB_TOKEN) in this project.
        type: dict
        suboptions:
          projects:
            description: Paths of projects that are let in.
            type: list
            elements: str
          groups:
            description: Paths of groups all of whose projects are let in.
            type: list
            elements: str
          limit:
            description: Whether only these are let in, and not all projects.
            type: bool
            default: true
      deploy_tokens:
        description:
          - Deploy tokens, each the value of CI/CD variables. Its user name is C(runnerhost+NAME).
          - Needs GitLab 16.2. Tokens that others have made are left alone.
        type: list
        elements: dict
        suboptions:
          name:
            description: The name, which is the identity.
            type: str
            required: true
          scopes:
            description: What it may do.
            type: list
            elements: str
            choices: [read_repository, read_registry, write_registry, read_package_registry,
                      write_package_registry, read_virtual_registry, write_virtual_registry]
            required: true
          days:
            description: For how many days a new one is valid.
            type: int
            default: 90
          renew_days:
            description: It is renewed when fewer days are left.
            type: int
            default: 30
          variables:
            description: The variables that hold it.
            type: list
            elements: dict
            required: true
            suboptions:
              key:
                description: The name. With the environment it is the identity.
                type: str
                required: true
              environment: *environment
              protected: *protected
              masked: *masked
              hidden: *hidden
              raw: *raw
              description: *description
              replace: *replace
      runners:
        description: Descriptions, or numbers, of project runners that also serve this project.
        type: list
        elements: str
  groups:
    description: The groups, each with O(groups[].group) and C(variables).
    type: list
    elements: dict
    default: []
    suboptions:
      group:
        description: Its path.
        type: str
        required: true
      variables: *variables
  pipelines:
    description: The release pipelines, as the variable C(release_pipeline_projects).
    type: list
    elements: raw
    default: []
  pipeline_inputs:
    description: Their common inputs, as the variable C(release_pipeline_inputs).
    type: dict
    default: {}
"""
