"""The subcommands: parse, call one library function, print, return a code.

Heavy libraries are imported by the command that needs them, so that predicting works where torch is
not installed.
"""
