"""The hub: tables, ledger, flow, dedup, search and the command line."""
