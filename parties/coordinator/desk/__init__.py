"""The coordinator's desk: what signed-in people may read and ask for, one module per subject.

A subject's module has ``doors(context)``, which names its doors; :mod:`parties.coordinator.desk.context` puts them
together, and the service opens a door only to a caller whose role it admits.
"""
