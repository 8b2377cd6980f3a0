"""``make eval-peers``: LangExtract and Instructor on the same documents and the same server as ours.

Each lives in an environment of its own in the user's cache, made when it is first
needed; nothing of them is a dependency of this program.
"""
