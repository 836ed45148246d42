//! The examples below each help text. A test of the command runs these lines, in this order.
//!
//! Each line fits on a terminal of 80 columns: clap breaks longer ones at places where a shell would not continue.

macro_rules! examples {
    ($($line:literal)+) => { concat!("Examples:", $("\n  ", $line),+) };
}

pub(crate) const OVERVIEW: &str = examples! {
    "weighbridge demo"
    "weighbridge verify --help"
};

pub(crate) const DEMO: &str = examples! {
    "weighbridge demo"
};

pub(crate) const KEYGEN: &str = examples! {
    "weighbridge keygen alice -o keys"
    "weighbridge keygen node -o keys --passphrase-file passphrase"
    "weighbridge keygen auditor -o keys --unencrypted"
};

pub(crate) const VKEY: &str = examples! {
    "weighbridge vkey bob bob.pub.pem"
};

pub(crate) const WEIGH: &str = examples! {
    "weighbridge weigh model --name org/model --key keys/alice.key"
    "weighbridge weigh model --name org/model -o meta"
    "weighbridge weigh model --name org/model --key keys/alice.key --force \\"
    "    --previous model/weighbridge/head.note \\"
    "    --reuse '*.safetensors' --from model/weighbridge"
};

pub(crate) const SIGN: &str = examples! {
    "weighbridge sign meta --key keys/alice.key"
    "weighbridge sign meta --signature head.sig \\"
    "    --vkey \"$(weighbridge vkey bob bob.pub.pem)\""
};

pub(crate) const VERIFY: &str = examples! {
    "weighbridge verify model --name org/model \\"
    "    --vkey \"$(cat keys/alice.vkey)\""
    "weighbridge verify model --name org/model --trust policy.toml \\"
    "    --only '*.json' --quiet"
    "weighbridge verify model --hub hf://org/other@v1.0"
};

pub(crate) const INSPECT: &str = examples! {
    "weighbridge inspect model"
    "weighbridge inspect model/model-00001-of-00002.safetensors"
};

pub(crate) const PROVE: &str = examples! {
    "weighbridge prove model --file config.json --absent model.pkl \\"
    "    -o model.proof"
    "weighbridge prove model --file config.json --bytes 0..100 \\"
    "    --slice config.slice -o config.proof"
};

pub(crate) const CHECK: &str = examples! {
    "weighbridge check model.proof --name org/model \\"
    "    --vkey \"$(cat keys/alice.vkey)\" --absent model.pkl"
    "weighbridge check config.proof --name org/model \\"
    "    --vkey \"$(cat keys/alice.vkey)\" --file config.json \\"
    "    --bytes 0..100 --slice config.slice --extract bytes"
};

pub(crate) const AUDIT: &str = examples! {
    "weighbridge audit challenge --help"
};

pub(crate) const AUDIT_CHALLENGE: &str = examples! {
    "weighbridge audit challenge model --name org/model \\"
    "    --vkey \"$(cat keys/alice.vkey)\" --prover \"$(cat keys/node.vkey)\" \\"
    "    --key keys/auditor.key -o challenge.note"
};

pub(crate) const AUDIT_RESPOND: &str = examples! {
    "weighbridge audit respond model challenge.note --key keys/node.key \\"
    "    -o response"
};

pub(crate) const AUDIT_CHECK: &str = examples! {
    "weighbridge audit check model challenge.note response --name org/model \\"
    "    --vkey \"$(cat keys/alice.vkey)\" --key keys/auditor.key \\"
    "    -o report.note"
};

pub(crate) const FETCH: &str = examples! {
    "weighbridge fetch https://one.example/model hf://org/model -o fetched \\"
    "    --name org/model --vkey \"$(cat keys/alice.vkey)\""
    "weighbridge fetch s3://bucket/model -o part --tensor 'model.layers.0.*' \\"
    "    --only '*.json' --name org/model --vkey \"$(cat keys/alice.vkey)\""
    "weighbridge fetch https://one.example/model --swarm model.ticket \\"
    "    -o shared --vkey \"$(cat keys/alice.vkey)\""
    "weighbridge fetch https://one.example/model --swarm open.ticket --share \\"
    "    -o shared --vkey \"$(cat keys/alice.vkey)\""
    "weighbridge fetch https://one.example/model -o slow --name org/model \\"
    "    --limit-rate '08:00-18:00 20MB, else unlimited' \\"
    "    --vkey \"$(cat keys/alice.vkey)\""
    "weighbridge fetch https://one.example/model --hf-cache --name org/model \\"
    "    --vkey \"$(cat keys/alice.vkey)\""
};

pub(crate) const SERVE: &str = examples! {
    "weighbridge serve model"
    "weighbridge serve models --listen 0.0.0.0:8443 --host models.example.org \\"
    "    --cert cert.pem --key key.pem --tokens tokens --limit-rate 50MB"
    "weighbridge serve model --node-key keys/node.key \\"
    "    --auditor keys/auditor.vkey"
    "weighbridge serve model --tracker 127.0.0.1:7070 --ticket model.ticket"
    "weighbridge serve --accept taken --vkey \"$(cat keys/alice.vkey)\" \\"
    "    --node-key keys/node.key --tokens tokens"
};

pub(crate) const NODE: &str = examples! {
    "weighbridge node --config node.toml"
    "weighbridge node ls --help"
};

pub(crate) const NODE_LS: &str = examples! {
    "weighbridge node ls --config node.toml"
};

pub(crate) const NODE_PIN: &str = examples! {
    "weighbridge node pin org/model --config node.toml"
};

pub(crate) const NODE_UNPIN: &str = examples! {
    "weighbridge node unpin org/model --config node.toml"
};

pub(crate) const NODE_EVICT: &str = examples! {
    "weighbridge node evict org/model --config node.toml"
};

pub(crate) const NODE_PLAN: &str = examples! {
    "weighbridge node plan --config node.toml"
};

pub(crate) const NODE_STATUS: &str = examples! {
    "weighbridge node status --config node.toml"
};

pub(crate) const PUSH: &str = examples! {
    "weighbridge push model https://one.example --receiver keys/node.vkey \\"
    "    --token https://one.example token --receipts receipts"
    "weighbridge push model s3://bucket/model --limit-rate 20MB"
};

pub(crate) const SWARM: &str = examples! {
    "weighbridge swarm ticket --help"
};

pub(crate) const SWARM_TICKET: &str = examples! {
    "weighbridge swarm ticket model --tracker 127.0.0.1:7070 -o model.ticket"
    "weighbridge swarm ticket model --tracker 127.0.0.1:7070 --open -o open.ticket"
};

pub(crate) const SWARM_PEERS: &str = examples! {
    "weighbridge swarm peers --help"
};

pub(crate) const IMPORT: &str = examples! {
    "weighbridge import hf://org/other@v1.0 -o imported --key keys/alice.key"
    "weighbridge import hf://org/other -o imported --key keys/alice.key --update"
    "weighbridge import hf://org/other --hf-cache --key keys/alice.key"
};

pub(crate) const TRUST: &str = examples! {
    "weighbridge trust add --help"
};

pub(crate) const TRUST_ADD: &str = examples! {
    "weighbridge trust add alice keys/alice.vkey --scope 'org/*'"
    "weighbridge trust add auditor keys/auditor.vkey --scope 'copies/*' \\"
    "    --role import --until 2040-01-01"
};

pub(crate) const TRUST_LIST: &str = examples! {
    "weighbridge trust list"
};

pub(crate) const TRUST_REMOVE: &str = examples! {
    "weighbridge trust remove auditor"
};

pub(crate) const TRUST_REVOKE: &str = examples! {
    "weighbridge trust revoke keys/alice.vkey"
};

pub(crate) const DIFF: &str = examples! {
    "weighbridge diff model fetched --vkey \"$(cat keys/alice.vkey)\""
};

pub(crate) const COMPLETIONS: &str = examples! {
    "weighbridge completions bash >weighbridge.bash"
};

pub(crate) const MAN: &str = examples! {
    "weighbridge man -o share/man/man1"
};
