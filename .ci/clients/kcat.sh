#!/usr/bin/env bash
# kcat with Debian's librdkafka 2.0.2: an older C client. Topics are made by auto-creation.
set -euo pipefail
bootstrap=$1 input=$2 prefix=$3
scratch=$(mktemp -d); trap 'rm -rf "$scratch"' EXIT
lines=$(wc -l < "$input")
same() { # WHAT: standard input against the input file, sorted
  sort > "$scratch/got"
  cmp <(sort "$input") "$scratch/got" || { echo "$1: $(wc -l < "$scratch/got") lines came, $lines wanted" >&2; exit 1; }
}

for combo in none:all gzip:all snappy:all lz4:all zstd:all none:1 lz4:0; do
  codec=${combo%:*} acks=${combo#*:} topic=$prefix-$codec-$acks
  # acks=0 loses what meets a leader that is not ready yet: its first line goes with acks=1.
  rest=1; [ "$acks" != 0 ] || { head -1 "$input" | kcat -P -b "$bootstrap" -t "$topic" -X acks=1; rest=2; }
  idempotent=$([ "$acks" = all ] && echo true || echo false)
  kcat -P -b "$bootstrap" -t "$topic" -z "$codec" -X acks="$acks" -X enable.idempotence="$idempotent" -X linger.ms=5 < <(tail -n +$rest "$input")
  kcat -C -b "$bootstrap" -t "$topic" -o beginning -e -q | same "$codec acks=$acks"
done

# By time: kcat reads from the first message not older than a moment. Its messages carry the time of sending.
topic=$prefix-time
kcat -P -b "$bootstrap" -t "$topic" -l "$input"
sleep 0.01; middle=$(date +%s%3N); sleep 0.01
kcat -P -b "$bootstrap" -t "$topic" -l "$input"
kcat -C -b "$bootstrap" -t "$topic" -o s@"$middle" -e -q | same "from a time on"
[ "$(kcat -Q -b "$bootstrap" -t "$topic:0:$middle" | sed 's/.*offset //')" = "$lines" ] || { echo "offset by time" >&2; exit 1; }

# A group of two, one after the other: the second goes on where the first stopped.
topic=$prefix-group
kcat -P -b "$bootstrap" -t "$topic" -l "$input"
half=$((lines / 2))
kcat -b "$bootstrap" -G "$prefix-g" -X auto.offset.reset=earliest -c "$half" -q "$topic" > "$scratch/first"
kcat -b "$bootstrap" -G "$prefix-g" -X auto.offset.reset=earliest -c "$((lines - half))" -q "$topic" > "$scratch/second"
cat "$scratch/first" "$scratch/second" | same "group"

# Keys, headers, null values and the metadata list.
topic=$prefix-shape
printf 'k1:v1\nk2:\n' | kcat -P -b "$bootstrap" -t "$topic" -K: -Z -H colour=red
[ "$(kcat -C -b "$bootstrap" -t "$topic" -o beginning -e -q -f '%k=%s(%S)%h ')" = "k1=v1(2)colour=red k2=(-1)colour=red " ] || { echo "keys and headers" >&2; exit 1; }
kcat -L -b "$bootstrap" | grep -q "topic \"$topic\" with 1 partitions" || { echo "metadata" >&2; exit 1; }
echo "kcat.sh ok $(kcat -V | grep -o 'librdkafka [0-9.]*' | head -1)"
