#!/usr/bin/env bash
# One Apache Kafka broker in KRaft mode, from Maven packages, on loopback.
#
#   kafka.sh start DIR [PORT]   prints HOST:PORT when the broker answers; without PORT picks a free one.
#                               DIR keeps the log: a second start goes on where the broker stopped, on the same port
#   kafka.sh stop DIR           clean shutdown
#   kafka.sh kill DIR           kill -9, for fault tests
#   kafka.sh fetch              only fill the cache
#
# Needs java 17 and mvn. KAFKA_HEAP sets the JVM's heap flags.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh source-path=SCRIPTDIR
source "$here/lib.sh"
ports=2 start_seconds=120 stop_seconds=30 scheme=

# The folder's name changes with the version in the pom, so an old cache is never taken for a new one.
version=$(sed -n 's/.*<kafka.version>\(.*\)<.*/\1/p' "$here/kafka/pom.xml")
home=$cache/apache-kafka-$version

fetch() {
  [[ -f $home/complete ]] && return
  need java openjdk-17-jre-headless
  need mvn maven
  mkdir -p "$home"
  mvn -q -B -f "$here/kafka/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
    -DoutputDirectory="$home/libs" >"$home/maven.log" 2>&1 || {
    tail -n 10 "$home/maven.log" >&2
    fail "maven could not fetch Apache Kafka $version"
  }
  touch "$home/complete"
}

# Two ports in a row, for clients and for the controller.
prepare() { # PORT
  sed -e "s|@PORT@|$1|g" -e "s|@CONTROLLER_PORT@|$(($1 + 1))|g" -e "s|@DIR@|$dir|g" \
    "$here/kafka/server.properties" >"$dir/server.properties"
  java -Xmx128m -XX:TieredStopAtLevel=1 -cp "$home/libs/*" kafka.tools.StorageTool format \
    --standalone -t "$(head -c 16 /dev/urandom | base64 | tr '+/' 'ab' | tr -d '=')" \
    -c "$dir/server.properties" >"$dir/format.log" 2>&1 || {
    tail -n 10 "$dir/format.log" >&2
    fail "the broker's folder could not be formatted"
  }
}

launch() {
  # shellcheck disable=SC2086  # heap flags are several words
  setsid java ${KAFKA_HEAP:--Xms256m -Xmx512m} -Djava.awt.headless=true \
    -Dlog4j2.configurationFile="$here/kafka/log4j2.properties" \
    -cp "$home/libs/*" kafka.Kafka "$dir/server.properties" >"$dir/log" 2>&1 </dev/null &
  echo $! >"$dir/pid"
}

answers() { # PORT
  grep -q 'Kafka Server started' "$dir/log" && listening "$1"
}

main "$@"
