"""One module per command; :mod:`byoc.cli.table` names them."""
