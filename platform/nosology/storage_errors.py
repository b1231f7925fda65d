"""The errors of storage: what a system, a client of remote storage or a writer of weights raises, in a sentence with its remedy."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator

from nosology.errors import InputError
from nosology.retries import answer_code


class StorageError(InputError):
    """The storage refused or failed: disk full, no permission, no connection. Nothing that was committed is lost."""

    exit_code = 1

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.rule, self.file, self.field, self.remedy)


def _rebuild(rule: str, file: str | None, field: str | None, remedy: str | None) -> StorageError:
    return StorageError(rule, file=file, field=field, remedy=remedy)


_REMEDIES = {
    errno.ENOSPC: ("the disk is full", "Free space or choose another folder, then run the same command again; it resumes"),
    errno.EDQUOT: ("the disk quota is used up", "Free space or choose another folder, then run the same command again; it resumes"),
    errno.EACCES: ("permission denied", "Give this user access, or choose another folder"),
    errno.EPERM: ("operation not permitted", "Give this user access, or choose another folder"),
    errno.EROFS: ("the file system is read-only", "Choose a folder that can be written"),
    errno.EMFILE: ("too many open files", "Raise the limit (ulimit -n)"),
    errno.EIO: ("the device reports an input/output error", "Check the disk"),
}

UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


# What a client of remote storage raises, by the name of its class.
_REMOTE_RULES = {
    "NoCredentialsError": ("no credentials for this storage",
                           "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile in ~/.aws, or a role of this machine"),
    "PartialCredentialsError": ("the credentials for this storage are incomplete",
                                "Set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws"),
    "ProfileNotFound": ("the profile that AWS_PROFILE names does not exist", "Check AWS_PROFILE and ~/.aws"),
    "EndpointConnectionError": ("the storage endpoint does not answer",
                                "Check AWS_ENDPOINT_URL and the connection, then run the same command again; it resumes"),
    "PermissionError": ("access denied", "Check the credentials, and that they allow to list, read, write and delete here"),
    "ParamValidationError": ("this is not a name that the storage allows for a bucket or a file", "Use s3://bucket/path"),
}  # fmt: skip
for _name in ("ConnectTimeoutError", "ReadTimeoutError", "ConnectionError", "ConnectionClosedError", "FSTimeoutError"):
    _REMOTE_RULES[_name] = _REMOTE_RULES["EndpointConnectionError"]
_REMOTE_REMEDY = "Check the address, the credentials and the connection, then run the same command again; it resumes"
_TORCH_WRITE = re.compile(r"inline_container|write\(\): fd \d+ failed")
_RUST_ERRNO = re.compile(r"\(os error (\d+)\)")


@contextlib.contextmanager
def named_errors(uri: str) -> Iterator[None]:
    """Turns the error of an operating system, of a storage client, or of a writer of weights (safetensors, torch) into one that
    names the URI and the remedy; for code outside this module that lets a library write.

    Raises:
        StorageError: disk full, no permission, no connection and the like.
        InputError: the URI cannot be right.
    """
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError("no such file or folder", file=uri, remedy="Check the path") from None
    except IsADirectoryError:
        raise InputError("a folder where a file was expected", file=uri) from None
    except (NotADirectoryError, FileExistsError):  # the second comes of making a folder, for other writers handle it themselves
        raise InputError("a file where a folder was expected", file=uri) from None
    except OSError as error:
        raise _of_system(uri, error, error.errno) from None
    except Exception as error:
        package = type(error).__module__.split(".")[0]
        # safetensors and tokenizers (which raises a bare Exception) are Rust, and hand the system's error on as text
        rust = package == "safetensors" or type(error) is Exception
        if rust and (found := _RUST_ERRNO.search(str(error))):
            raise _of_system(uri, error, int(found[1])) from None
        if isinstance(error, RuntimeError) and _TORCH_WRITE.search(str(error)):  # torch.save, which does not say which error
            raise StorageError(
                "a file could not be written whole", file=uri, remedy=f"Perhaps the disk is full. {_REMEDIES[errno.ENOSPC][1]}"
            ) from None
        if isinstance(error, ValueError) and str(error).startswith("Invalid endpoint"):
            raise InputError("the storage endpoint is no URL", file=uri, remedy="Check AWS_ENDPOINT_URL") from None
        if package not in ("botocore", "aiobotocore", "aiohttp", "s3fs", "fsspec"):
            raise
        rule, remedy = _REMOTE_RULES.get(type(error).__name__, (f"storage failed ({type(error).__name__})", _REMOTE_REMEDY))
        raise StorageError(rule, file=uri, remedy=remedy) from None


def _of_system(uri: str, error: Exception, number: int | None) -> StorageError:
    rule, remedy = _REMEDIES.get(number or 0, (f"storage failed ({type(error).__name__}, errno {number})", None))
    if "://" in uri and not uri.startswith(
        "file://"
    ):  # its client words what the server says as the system's errors, mostly without a number
        if code := answer_code(error):
            rule, remedy = f"the storage answers {code}", _REMOTE_REMEDY
        rule, remedy = _REMOTE_RULES.get(type(error).__name__, (rule, remedy or _REMOTE_REMEDY))
    return StorageError(rule, file=uri, remedy=remedy)
