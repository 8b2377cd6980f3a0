"""Conversion of files to text, identical on device and hub. Imports no other package of this project."""
