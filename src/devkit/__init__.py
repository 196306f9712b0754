"""What runs on a developer's machine only: the embedded stores and the supervisor behind `interalpha dev`."""
