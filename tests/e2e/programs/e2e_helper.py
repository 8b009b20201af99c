"""A module of the user's that an image brings along."""


def shout(text: str) -> str:
    return text.upper() + "!"
