#!/usr/bin/env bash
# Compiles the plugin against the Gazebo Classic that pkg-config finds: compile.sh SOURCE LIBRARY
set -euo pipefail
read -ra flags <<< "$(pkg-config --cflags --libs gazebo)"
ogre=/usr/include/OGRE
"${CXX:-c++}" -O1 -std=c++17 -shared -fPIC "$1" -o "$2" -I$ogre -I$ogre/Paging -I$ogre/Terrain "${flags[@]}"
