# Says something and stays; `broken` in the environment makes it leave.
echo "greeting: $(cat /greeting)"
[ "$MODE" = broken ] && { echo 'cannot work like this' >&2; exit 3; }
exec sleep 3600
