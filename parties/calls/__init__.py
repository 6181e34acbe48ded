"""What goes through the desk's doors, one module per subject: shapes of questions and answers, and the client's calls.

Both sides import these, so a name or a field exists once. ``parties.client`` puts the calls together.
"""
