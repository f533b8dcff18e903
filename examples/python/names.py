"""Names of container groups."""

import six


def group_name(project: int, job) -> str:
    """The name of a job's group; job is a number or its text."""
    if isinstance(job, six.string_types):
        job = int(job)
    return f"ci-p{project}-j{job}"
