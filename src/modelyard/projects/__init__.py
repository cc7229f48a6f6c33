"""Projects: the containers that models, deployments and policies belong to. A project has one use case for its life.

Neighbours: every slice that belongs to a project asks `access.get_project`. What stands in a project is written down
here by the slices above (`access.note_occupant`), so that a project that holds something isn't deleted by mistake.
"""
