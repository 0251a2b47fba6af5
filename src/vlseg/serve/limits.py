"""What one server takes in at most, and how a request beyond it is refused."""

from dataclasses import dataclass, fields

from vlseg.records import InputError


class Refused(Exception):  # noqa: N818 (what it is called where it is met)
    """A request that is not answered.

    Attributes:
        status: of HTTP, 400 or more.
        code: in snake_case, for programs.
        message: one line that names the field and the mend; it quotes neither prompts nor file names.
        retry_after: whole seconds after which the same request may pass, or None.
    """

    def __init__(self, status: int, code: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after


@dataclass(frozen=True)
class Limits:
    """What is taken in at most.

    Attributes:
        bytes: of the body of one request that is a form, with the image in it.
        json_bytes: of any other body; read as JSON it may take twenty times the memory.
        pixels: of one image, height x width.
        frames: pictures in one image file.
        prompts: in one request.
        prompt_chars: in one prompt, in code points.
        queue: requests that wait or are answered at one time.
        images_per_session: kept in memory for one session.
        sessions: that have images in memory at one time.
        seconds: that a body may take to arrive, and an answer to be made.
        keep_seconds: after its last use an image is dropped from memory.
        cookie_seconds: after opening the printed address it must be opened again.
    """

    bytes: int = 32 * 2**20
    json_bytes: int = 8 * 2**20
    pixels: int = 25_000_000
    frames: int = 1
    prompts: int = 16
    prompt_chars: int = 500
    queue: int = 64
    images_per_session: int = 8
    sessions: int = 64
    seconds: float = 60.0
    keep_seconds: float = 900.0
    cookie_seconds: float = 12 * 3600.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if not 0 < getattr(self, field.name) < float("inf"):
                raise InputError(f"limits: {field.name} is {getattr(self, field.name)}; give a number above 0")
