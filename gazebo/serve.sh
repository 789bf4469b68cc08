#!/usr/bin/env bash
# Runs gzserver without a screen until standard input ends or gzserver does: serve.sh FOLDER PORT
# FOLDER holds table.world and libjepa_gazebo.so; logs go there.
folder=$1
. /usr/share/gazebo/setup.sh
set -u # not before: what is sourced reads variables that are not set
export GAZEBO_MASTER_URI=http://127.0.0.1:$2 GAZEBO_IP=127.0.0.1 GAZEBO_MODEL_DATABASE_URI=
export GAZEBO_PLUGIN_PATH=$folder:${GAZEBO_PLUGIN_PATH:-} LIBGL_ALWAYS_SOFTWARE=1 LP_NUM_THREADS=1
mkdir -p /tmp/.X11-unix
exec 4> "$folder/display"
Xvfb -displayfd 4 -screen 0 640x480x24 -nolisten tcp > "$folder/xvfb.log" 2>&1 < /dev/null &
screen=$!
exec 4>&-
server=
end() { kill $server $screen 2> /dev/null; sleep 0.5; kill -9 $server $screen 2> /dev/null; }
trap end EXIT
trap 'exit 0' INT TERM
for _ in $(seq 100); do [ -s "$folder/display" ] && break; sleep 0.1; done
[ -s "$folder/display" ] || { echo "Xvfb did not start:"; tail -n 5 "$folder/xvfb.log"; exit 1; }
DISPLAY=:$(cat "$folder/display") gzserver --verbose "$folder/table.world" < /dev/null &
server=$!
# Whoever runs this holds standard input open; when it is gone, however it ended, so is Gazebo.
{ cat > /dev/null; kill $server 2> /dev/null; } <&0 &
wait $server
