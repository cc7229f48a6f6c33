"""The first program of a guest: drops every right, opens the environment, and waits for a task.

Run by path, `python -s -P -S boot.py ...`: isolated, and without `site`, so that no file of the environment has a say
before the rights are gone. Options: `--drop ID`, `--folder PATH`, `--socket FD`, `--preload a,b`, `--imports a,b`,
`--exec PROGRAM ARGUMENTS...` (last).
"""

import contextlib
import os
import sys


def drop_rights(identity: int) -> None:
    """Becomes `identity` for good: real, effective and saved, with no further groups."""
    os.setgroups([])
    os.setresgid(identity, identity, identity)
    os.setresuid(identity, identity, identity)
    if os.getresuid() != (identity, identity, identity):
        raise SystemExit("the rights could not be dropped")


def own_itself() -> None:
    """Makes /proc/self readable again, which a change of identity takes away, and ends with the host in bare mode."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    set_death_signal, set_dumpable, set_no_new_privileges, sigkill = 1, 4, 38, 9
    libc.prctl(set_dumpable, 1, 0, 0, 0)
    libc.prctl(set_death_signal, sigkill, 0, 0, 0)
    libc.prctl(set_no_new_privileges, 1, 0, 0, 0)


def keep_only(connection: int) -> int:
    """Moves the socket to descriptor 3 and closes all others but 0, 1, 2."""
    if connection != 3:
        os.dup2(connection, 3, inheritable=False)
    else:
        os.set_inheritable(3, False)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 3:
            with contextlib.suppress(OSError):  # one is the listing's own, closed by now
                os.close(int(name))
    return 3


def open_environment() -> None:
    """Lets `site` find the environment's packages, and the guest's own package be imported as `modelyard_guest`."""
    import importlib.util
    import site

    site.main()
    folder = os.path.dirname(os.path.abspath(__file__))
    where = os.path.join(folder, "__init__.py")
    spec = importlib.util.spec_from_file_location("modelyard_guest", where, submodule_search_locations=[folder])
    if spec is None or spec.loader is None:
        raise SystemExit("the guest's program is not there")
    module = importlib.util.module_from_spec(spec)
    sys.modules["modelyard_guest"] = module
    spec.loader.exec_module(module)


def main(arguments: list[str]) -> None:
    """Reads the options and goes to work."""
    options = {"--drop": "", "--socket": "", "--folder": ".", "--preload": "", "--imports": ""}
    while arguments and arguments[0] in options:
        options[arguments[0]] = arguments[1]
        arguments = arguments[2:]
    if options["--drop"]:
        drop_rights(int(options["--drop"]))
    os.chdir(options["--folder"])  # after the drop: the folder is the guest's alone
    own_itself()
    connection = keep_only(int(options["--socket"]))
    if arguments[:1] == ["--exec"]:
        os.execvp(arguments[1], arguments[1:])  # noqa: S606 - argv as the platform gave it, no shell
    open_environment()
    from modelyard_guest.work import serve  # type: ignore[import-not-found]  # known by this name inside only

    preload, imports = ([name for name in options[each].split(",") if name] for each in ("--preload", "--imports"))
    serve(connection, preload, imports)


if __name__ == "__main__":
    main(sys.argv[1:])
