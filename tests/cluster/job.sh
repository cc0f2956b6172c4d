#!/bin/bash
trap '' TERM
exec "$@"
