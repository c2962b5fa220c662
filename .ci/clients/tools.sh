#!/usr/bin/env bash
# Kafka's console tools against any broker. Each start of Java costs a second, so each tool is used once or twice.
set -euo pipefail
bootstrap=$1 input=$2 prefix=$3
tool() { "$(dirname "$0")/../kafka/tool" "$@"; }
scratch=$(mktemp -d); pids=()
trap 'for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done; rm -rf "$scratch"' EXIT
lines=$(wc -l < "$input"); topic=$prefix-tools
. "$(dirname "$0")/want"

tool kafka-topics --bootstrap-server "$bootstrap" --create --topic "$topic" --partitions 3 --config retention.ms=7654321 | want create "Created topic $topic"
tool kafka-topics --bootstrap-server "$bootstrap" --alter --topic "$topic" --partitions 4
refuse "would not be an increase\|currently has 4" tool kafka-topics --bootstrap-server "$bootstrap" --alter --topic "$topic" --partitions 2
tool kafka-topics --bootstrap-server "$bootstrap" --describe --topic "$topic" | want describe 'PartitionCount: 4.*retention.ms=7654321'

tool kafka-console-producer --bootstrap-server "$bootstrap" --topic "$topic" --compression-codec zstd --producer-property acks=all < "$input"
# A group of three members: each message goes to one of them.
for n in 1 2 3; do
  tool kafka-console-consumer --bootstrap-server "$bootstrap" --topic "$topic" --group "$prefix-g" --from-beginning \
    --timeout-ms 8000 > "$scratch/member$n" 2> "$scratch/error$n" &
  pids+=($!)
done
for p in "${pids[@]}"; do wait "$p"; done; pids=()
cat "$scratch"/member? | sort > "$scratch/all"
cmp <(sort "$input") "$scratch/all" || { echo "group of three: $(wc -l < "$scratch/all") lines, $lines wanted" >&2; cat "$scratch"/error? >&2; exit 1; }

tool kafka-consumer-groups --bootstrap-server "$bootstrap" --describe --group "$prefix-g" > "$scratch/lag"
[ "$(awk -v t="$topic" '$2==t{n++; lag+=$6} END{print n+0, lag+0}' "$scratch/lag")" = "4 0" ] || { cat "$scratch/lag" >&2; exit 1; }
tool kafka-consumer-groups --bootstrap-server "$bootstrap" --reset-offsets --group "$prefix-g" --topic "$topic" --to-earliest --execute | want reset "$topic +[0-3] +0"
tool kafka-groups --bootstrap-server "$bootstrap" --list | want groups "$prefix-g +Classic +consumer"
tool kafka-consumer-groups --bootstrap-server "$bootstrap" --delete --group "$prefix-g" | want "delete group" 'successful'

tool kafka-configs --bootstrap-server "$bootstrap" --alter --entity-type topics --entity-name "$topic" --add-config max.message.bytes=200000 | want alter 'Completed updating'
tool kafka-configs --bootstrap-server "$bootstrap" --describe --entity-type topics --entity-name "$topic" | want configs 'max.message.bytes=200000'
tool kafka-get-offsets --bootstrap-server "$bootstrap" --topic "$topic" > "$scratch/ends"
[ "$(awk -F: '{n += $3} END {print n}' "$scratch/ends")" = "$lines" ] || { cat "$scratch/ends" >&2; exit 1; }
echo "{\"partitions\":[{\"topic\":\"$topic\",\"partition\":0,\"offset\":-1}],\"version\":1}" > "$scratch/cut.json"
tool kafka-delete-records --bootstrap-server "$bootstrap" --offset-json-file "$scratch/cut.json" | want "delete records" "partition: $topic-0.*low_watermark: $(awk -F: '$2==0{print $3}' "$scratch/ends")"
tool kafka-log-dirs --bootstrap-server "$bootstrap" --describe --topic-list "$topic" | want "log dirs" "\"partition\":\"$topic-3\""
tool kafka-broker-api-versions --bootstrap-server "$bootstrap" | want "api versions" 'Produce\(0\): 0 to 13'
tool kafka-cluster cluster-id --bootstrap-server "$bootstrap" | want "cluster id" 'Cluster ID: [A-Za-z0-9_-]{22}'

tool kafka-producer-perf-test --bootstrap-server "$bootstrap" --topic "$prefix-perf" --num-records 50000 --record-size 200 --throughput -1 --producer-props linger.ms=5 | want "producer perf" '^50000 records sent'
tool kafka-consumer-perf-test --bootstrap-server "$bootstrap" --topic "$prefix-perf" --num-records 50000 --timeout 20000 --group "$prefix-perf" | want "consumer perf" ', 50000, '
tool kafka-verifiable-producer --bootstrap-server "$bootstrap" --topic "$prefix-verify" --max-messages 5000 --acks -1 | want "verifiable producer" '"sent":5000,"acked":5000'
tool kafka-verifiable-consumer --bootstrap-server "$bootstrap" --topic "$prefix-verify" --group-id "$prefix-verify" --max-messages 5000 --reset-policy earliest > "$scratch/verified"
grep '"name":"records_consumed"' "$scratch/verified" | grep -o '^{[^[]*"count":[0-9]*' | want "verifiable consumer" '"count"'
tool kafka-topics --bootstrap-server "$bootstrap" --delete --topic "$topic"
echo "tools.sh ok"
