"""The options of main.py."""

from utils.options.flags import get_args_parser, parse_args

__all__ = ["get_args_parser", "parse_args"]
