"""open_session: a bundle made callable, whatever runs its model."""

import os

from ..serve import Bundle, Session


def open_session(
    bundle: Bundle | str | os.PathLike[str],
    *,
    threads: int | None = None,
    native: bool = True,
    validate: bool = False,
) -> Session:
    """Return what runs a bundle: `serve.Session`, or `PackageSession` for a package of AOTInductor.

    Args:
        bundle: A bundle, or the path of one.
        threads: Threads that one call may use; None means as many as the runtime takes by itself.
        native: Whether to use the C++ operators where they are installed.
        validate: Whether to refuse NaN and infinite inputs.

    Raises:
        BundleError: If the bundle is damaged or not allowed, or its package was made for another
            torch or processor.
        ValueError: If a package shall run without the C++ operators, for which it has no form.
    """
    bundle = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
    if bundle.manifest.target is None:
        return Session(bundle, threads=threads, native=native, validate=validate)
    if not native:
        raise ValueError(
            f"{bundle.path} holds {bundle.manifest.model}, which has no portable operators; only "
            "bundles of ONNX run without the C++ ones"
        )
    from .formats.aoti_session import PackageSession

    return PackageSession(bundle, threads=threads, validate=validate)
