"""The documents that the project was created from, sentence by sentence, on a real hub."""
