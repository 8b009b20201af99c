"""Images: the declared recipe, the plan of its build, and local files on their way."""
