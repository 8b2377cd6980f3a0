"""The checks behind ``hub doctor``: each looks at facts that are handed to it, and returns what it found."""
