# Reads commands of az as JSON ([{"args": [...], "whole": bool}]) on stdin, and lets the parser of the Azure CLI that is
# installed judge them, all in one process; nothing is carried out. Writes what is wrong with each, "" for nothing.
import json
import os
import sys
import tempfile

home = tempfile.TemporaryDirectory()
os.environ.update(AZURE_CONFIG_DIR=home.name, AZURE_CORE_COLLECT_TELEMETRY="false", AZURE_EXTENSION_USE_DYNAMIC_INSTALL="no")

from azure.cli.core import get_default_cli  # noqa: E402
from azure.cli.core.parser import AzCliCommandParser  # noqa: E402
from knack.events import EVENT_INVOKER_POST_PARSE_ARGS  # noqa: E402


class Judged(BaseException):
    pass


last = None  # the parser that was asked last: the command's own


def note(self, *args, **kwargs):
    global last
    last = self
    return parse_known_args(self, *args, **kwargs)


def wrong(self, message):
    raise Judged(message)


def unknown(self, action, value):
    if action.choices is not None and value not in action.choices:
        raise Judged("%r is not one of %s" % (value, ", ".join(sorted(map(str, action.choices)))))


def parsed(_, **kwargs):
    raise Judged("")


parse_known_args = AzCliCommandParser.parse_known_args
AzCliCommandParser.parse_known_args = note
AzCliCommandParser.error = wrong
AzCliCommandParser._check_value = unknown
cli = get_default_cli()
cli.register_event(EVENT_INVOKER_POST_PARSE_ARGS, parsed)


def judge(args, whole):
    global last
    last = None
    try:
        cli.invoke(args)
    except Judged as verdict:
        message = str(verdict)
    except SystemExit as end:
        message = "az ended with exit code %s" % end.code
    else:
        message = "it was carried out"
    # A part of a command may lack what it needs, but what is there must be known; and no flag may be an abbreviation.
    if message and not (not whole and "are required" in message):
        return message
    flags = [a.split("=")[0] for a in args if a.startswith("-")]
    return "; ".join("no flag %s" % f for f in flags if f not in last._option_string_actions)


commands = json.load(sys.stdin)
sys.stdout, answer = sys.stderr, sys.stdout
json.dump([judge(c["args"], c["whole"]) for c in commands], answer)
