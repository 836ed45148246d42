"""A refusal, with its number from spec/error-codes.md."""


class Refused(Exception):
    """The bytes were read and found bad. `code` is the stable number of the reason."""

    def __init__(self, code: int, message: str):
        super().__init__(f"{message} [W{code}]")
        self.code = code
        self.message = message
