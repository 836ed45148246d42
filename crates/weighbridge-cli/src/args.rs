//! The commands and arguments of the command line.

use std::{net::SocketAddr, ops::Range, path::PathBuf};

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use weighbridge_bandwidth::{Schedule, ScheduleError, byte_size};
use weighbridge_manifest::{ModelName, Time};
use weighbridge_tree::{ChunkSize, HeadId};

use crate::examples;

pub(crate) mod node;
pub(crate) mod swarm;
pub(crate) mod trust_file;
use trust_file::TrustFile;

/// Prove what is in an AI model, and that it arrived.
///
/// A publisher weighs a model once and signs a head of half a kilobyte; from then on everyone checks only what they
/// need.
///
/// Exit status: 0 verified or done, 1 refused, 2 could not tell (usage, I/O), 130 ended by Ctrl-C, 143 by SIGTERM.
///
/// WEIGHBRIDGE_TRUST names a policy for where none of --trust, --vkey and --head is given; WEIGHBRIDGE_PASSPHRASE is the
/// passphrase of secret keys for which no --passphrase-file or --passphrase-fd is given.
#[derive(Parser)]
#[command(name = "weighbridge", version, arg_required_else_help = true, after_help = examples::OVERVIEW)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Print one JSON object a line, with stable codes
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print results and errors alone: no progress, no notes
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    Keygen(Keygen),
    Vkey(VkeyArgs),
    Weigh(Weigh),
    Sign(Sign),
    Verify(Verify),
    Inspect(Inspect),
    Prove(Prove),
    Check(Check),
    #[command(subcommand)]
    Audit(Audit),
    Fetch(Fetch),
    Import(Import),
    Serve(Serve),
    Node(node::Node),
    Push(Push),
    #[command(subcommand)]
    Swarm(swarm::Swarm),
    #[command(subcommand)]
    Trust(TrustFile),
    Diff(Diff),
    /// Weigh, sign, verify a small model, flip a bit, and see it refused
    #[command(after_help = examples::DEMO)]
    Demo,
    Completions(Completions),
    Man(Man),
}

/// Make a key pair: DIR/NAME.key, encrypted with a passphrase, and DIR/NAME.vkey, to be given away
///
/// Nothing is ever overwritten. The passphrase is taken from --passphrase-file, --passphrase-fd, the environment
/// (WEIGHBRIDGE_PASSPHRASE), or asked for.
#[derive(Parser)]
#[command(after_help = examples::KEYGEN)]
pub(crate) struct Keygen {
    /// The key's name, as it will stand in signatures: an organisation or a person, without spaces
    pub(crate) name: String,
    /// The folder to write to
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseSource,
    /// Write the secret key in plain text
    #[arg(long, conflicts_with_all = ["passphrase_file", "passphrase_fd"])]
    pub(crate) unencrypted: bool,
}

/// Print the vkey line of a public key that was made elsewhere
#[derive(Parser)]
#[command(after_help = examples::VKEY)]
pub(crate) struct VkeyArgs {
    /// The name to give the key
    pub(crate) name: String,
    /// The public key in PEM, as `openssl pkey -pubout` writes it
    #[arg(value_name = "PUBLIC.pem")]
    pub(crate) public: PathBuf,
}

/// Weigh a model folder: write its lists, its chunk layers and its head
///
/// With --key the head is signed at once; else sign head.txt elsewhere and attach the signature with `weighbridge sign`.
#[derive(Parser)]
#[command(after_help = examples::WEIGH)]
pub(crate) struct Weigh {
    /// The model folder
    pub(crate) model: PathBuf,
    /// The model's name
    #[arg(long, value_name = "ORG/MODEL", value_parser = model_name)]
    pub(crate) name: ModelName,
    /// A secret key to sign with; may be given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseSource,
    /// The signed head of the revision before this one
    #[arg(long, value_name = "HEAD.note")]
    pub(crate) previous: Option<PathBuf>,
    /// When the head stops being good, like 2027-11-20T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) expires: Option<Time>,
    /// The unit of verification: a power of two from 16KiB to 16MiB [default: by the size of the model, from 256KiB]
    #[arg(long, value_name = "SIZE", value_parser = chunk_size)]
    pub(crate) chunk_size: Option<ChunkSize>,
    /// List each file's SHA-256 too; one core per file then
    #[arg(long)]
    pub(crate) sha256: bool,
    /// Do not look into tensor files: the head says `tensors none`
    #[arg(long)]
    pub(crate) no_tensors: bool,
    /// Take matching files as they are, though they are called like leftovers of downloads or systems, or are Git LFS
    /// pointers; may be given several times; `*` does not match `/`, `**` does
    #[arg(long, value_name = "GLOB")]
    pub(crate) take: Vec<String>,
    /// A further line of the head; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = ext)]
    pub(crate) ext: Vec<weighbridge_manifest::Ext>,
    /// Take matching files over from an earlier release without reading them, if their size is unchanged; `*` does not
    /// match `/`, `**` does
    #[arg(long, value_name = "GLOB", requires = "from")]
    pub(crate) reuse: Vec<String>,
    /// The metadata of the earlier release; its head is checked against --trust, --vkey, or else the keys of --key
    #[arg(long, value_name = "META", requires = "reuse")]
    pub(crate) from: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) trust: Trust,
    /// Where to write the metadata [default: MODEL/weighbridge]
    #[arg(short, long, value_name = "META")]
    pub(crate) output: Option<PathBuf>,
    /// Replace metadata that is there
    #[arg(long)]
    pub(crate) force: bool,
}

/// Add a signature to a head; reads no weights and leaves the head id as it is
#[derive(Parser)]
#[command(after_help = examples::SIGN)]
pub(crate) struct Sign {
    /// The metadata, or the model folder that holds it
    #[arg(value_name = "META-OR-MODEL")]
    pub(crate) target: PathBuf,
    /// Sign nothing but a head of this name
    #[arg(long, value_name = "ORG/MODEL", value_parser = model_name)]
    pub(crate) name: Option<ModelName>,
    /// The secret key to sign with
    #[arg(long, value_name = "FILE", required_unless_present = "signature", conflicts_with = "signature")]
    pub(crate) key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseSource,
    /// A signature of head.txt that was made elsewhere: 64 bytes, as `openssl pkeyutl -sign -rawin` writes them
    #[arg(long, value_name = "FILE", requires = "vkey")]
    pub(crate) signature: Option<PathBuf>,
    /// The key that made the signature: a vkey line, or a file with one
    #[arg(long, value_name = "LINE-OR-FILE", requires = "signature")]
    pub(crate) vkey: Option<String>,
}

/// Check a model folder against its signed head, every byte of it
#[derive(Parser)]
#[command(after_help = examples::VERIFY)]
pub(crate) struct Verify {
    /// The model folder
    pub(crate) model: PathBuf,
    /// Where the metadata is, if not in MODEL/weighbridge, or with --partial where an unfinished fetch keeps it
    #[arg(long, value_name = "META")]
    pub(crate) meta: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) trust: Trust,
    #[command(flatten)]
    pub(crate) which: Which,
    /// Look at matching files only; may be given several times; `*` does not match `/`, `**` does
    #[arg(long, value_name = "GLOB")]
    pub(crate) only: Vec<String>,
    /// Check each tensor's own hash too
    #[arg(long)]
    pub(crate) tensors: bool,
    /// Report files that are not listed instead of refusing them
    #[arg(long)]
    pub(crate) allow_extra: bool,
    /// Compare with what a hub (hf://ORG/NAME@REVISION), or an https folder with SHA256SUMS, lists, in place of a head
    ///
    /// Nobody signed that: whoever can change the files of a hub can change what it lists. HF_ENDPOINT and HF_TOKEN are
    /// used as by fetch.
    #[arg(long, value_name = "SOURCE", conflicts_with_all = [
        "meta", "trust", "vkeys", "name", "head", "min_revision", "state", "allow_expired", "tensors", "partial", "receipt",
    ])]
    pub(crate) hub: Option<String>,
    /// Say what is there of a fetch that is not complete: whole files, chunks, tensors; what is missing is no refusal
    #[arg(long, conflicts_with_all = ["receipt", "tensors", "allow_extra"])]
    pub(crate) partial: bool,
    /// Where to write a receipt: this node's signed word that it verified the whole model
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with = "only")]
    pub(crate) receipt: Option<PathBuf>,
    /// This node's secret key, to sign the receipt with
    #[arg(long, value_name = "FILE", requires = "receipt")]
    pub(crate) key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseSource,
}

/// Make a proof of a kilobyte or two: that files or tensors belong to a model, or that a file does not
///
/// Reads metadata alone, and with --slice the chunks that hold the range. The proof is printed, unless -o names a file.
#[derive(Parser)]
#[command(after_help = examples::PROVE)]
pub(crate) struct Prove {
    /// The model folder, or for a proof without a slice its metadata
    pub(crate) model: PathBuf,
    /// Where the metadata is, if not in MODEL/weighbridge
    #[arg(long, value_name = "META")]
    pub(crate) meta: Option<PathBuf>,
    /// That this file is in the model; may be given several times
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Vec<String>,
    /// That this tensor is in the model, and its file; may be given several times
    #[arg(long, value_name = "FILE:NAME")]
    pub(crate) tensor: Vec<String>,
    /// That this file is not in the model; may be given several times
    #[arg(long, value_name = "PATH")]
    pub(crate) absent: Vec<String>,
    /// Where to write the proof
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Where to write a slice with the bytes of the one tensor, or of the one file
    #[arg(long, value_name = "FILE")]
    pub(crate) slice: Option<PathBuf>,
    /// Which bytes of the file, from 0, the end excluded [default: all]
    #[arg(long, value_name = "A..B", value_parser = byte_range, requires = "slice")]
    pub(crate) bytes: Option<Range<u64>>,
}

/// Check a proof, offline, and say what it proves and how much is known of the model
///
/// The level is `published` when the head is believed, and `held` when in addition enough auditors of the policy have
/// reported (--report). Fewer than the policy demands is a refusal.
#[derive(Parser)]
#[command(after_help = examples::CHECK)]
pub(crate) struct Check {
    /// The proof, or - for standard input
    pub(crate) proof: PathBuf,
    #[command(flatten)]
    pub(crate) trust: Trust,
    #[command(flatten)]
    pub(crate) which: Which,
    #[command(flatten)]
    pub(crate) wanted: Wanted,
    /// The slice that goes with the proof
    #[arg(long, value_name = "FILE")]
    pub(crate) slice: Option<PathBuf>,
    /// Where to write the bytes of the slice, once all are accepted
    #[arg(long, value_name = "FILE", requires = "slice")]
    pub(crate) extract: Option<PathBuf>,
    /// An auditor's report; may be given several times
    #[arg(long, value_name = "FILE", requires = "max_age")]
    pub(crate) report: Vec<PathBuf>,
    /// How old a report may be, from when its challenge was issued, like 90s, 10m, 24h or 7d
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "report")]
    pub(crate) max_age: Option<u64>,
    /// A node's receipt, to be shown as the claim that it is; may be given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) receipt: Vec<PathBuf>,
}

/// What a proof has to show. Without any of it, whatever it shows is printed: whoever made the proof chose that.
#[derive(Parser)]
#[command(next_help_heading = "What it has to show")]
pub(crate) struct Wanted {
    /// That this file is in the model; may be given several times
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Vec<String>,
    /// That this tensor is in the model; may be given several times
    #[arg(long, value_name = "FILE:NAME")]
    pub(crate) tensor: Vec<String>,
    /// That this file is not in the model; may be given several times
    #[arg(long, value_name = "PATH")]
    pub(crate) absent: Vec<String>,
    /// That the slice has these bytes of the one --file
    #[arg(long, value_name = "A..B", value_parser = byte_range, requires = "file", requires = "slice")]
    pub(crate) bytes: Option<Range<u64>>,
}

/// Find out whether a node can produce a model: challenge it, respond, check the response
#[derive(Subcommand)]
#[command(after_help = examples::AUDIT)]
pub(crate) enum Audit {
    Challenge(AuditChallenge),
    Respond(AuditRespond),
    Check(AuditCheck),
}

/// Ask a node for random parts of a model: write a signed challenge
#[derive(Parser)]
#[command(after_help = examples::AUDIT_CHALLENGE)]
pub(crate) struct AuditChallenge {
    /// The metadata (head.note and files.jsonl suffice), or the model folder that holds it
    #[arg(value_name = "META-OR-MODEL")]
    pub(crate) target: PathBuf,
    #[command(flatten)]
    pub(crate) trust: Trust,
    #[command(flatten)]
    pub(crate) which: Which,
    /// The key of the node that is to respond: a vkey line, or a file with one
    #[arg(long, value_name = "LINE-OR-FILE")]
    pub(crate) prover: String,
    /// How many BLAKE3 chunks of 1,024 bytes it is to show
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub(crate) samples: u64,
    /// How long it may take, like 90s, 10m, 24h or 7d
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub(crate) within: u64,
    /// The auditor's secret key
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseSource,
    /// Where to write the challenge
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

/// Answer a challenge; reads the chunks around the samples, and never the model
#[derive(Parser)]
#[command(after_help = examples::AUDIT_RESPOND)]
pub(crate) struct AuditRespond {
    /// The model folder
    pub(crate) model: PathBuf,
    /// The challenge
    pub(crate) challenge: PathBuf,
    /// Where the metadata is, if not in MODEL/weighbridge
    #[arg(long, value_name = "META")]
    pub(crate) meta: Option<PathBuf>,
    /// This node's secret key
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseSource,
    /// Where to write the response
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

/// Check the response to a challenge of one's own, and write a signed report
#[derive(Parser)]
#[command(after_help = examples::AUDIT_CHECK)]
pub(crate) struct AuditCheck {
    /// The metadata (head.note and files.jsonl suffice), or the model folder that holds it
    #[arg(value_name = "META-OR-MODEL")]
    pub(crate) target: PathBuf,
    /// The challenge
    pub(crate) challenge: PathBuf,
    /// The response
    pub(crate) response: PathBuf,
    #[command(flatten)]
    pub(crate) trust: Trust,
    #[command(flatten)]
    pub(crate) which: Which,
    /// When the whole response had come [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) received: Option<Time>,
    /// Where the nonces of answered challenges are kept [default: in the user's state folder]
    #[arg(long, value_name = "FILE")]
    pub(crate) answered: Option<PathBuf>,
    /// The auditor's secret key
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseSource,
    /// Where to write the report
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

/// Fetch a model from any number of untrusted sources at once, and verify every byte before it counts
///
/// A source is a URL (http, https, s3, gs, az), hf://ORG/NAME@REVISION, or a folder; any mix will do. A source of a hub also
/// says which model is wanted, if neither --name nor --head does. What is on disk already is verified and not fetched again:
/// after a kill, a crash or an error the same command goes on from there. A file gets its name when all of it is verified;
/// until then it lies in DIR/weighbridge/partial, or beside the snapshots of the cache.
///
/// HF_ENDPOINT and HF_TOKEN are used for hf:// sources, or else the token that `hf auth login` keeps. Keys for buckets,
/// proxies and certificates are those of the usual environment variables; for s3://, AWS_PROFILE names a profile.
#[derive(Parser)]
#[command(after_help = examples::FETCH)]
pub(crate) struct Fetch {
    /// Where the model's files are
    #[arg(value_name = "SOURCE", required = true)]
    pub(crate) sources: Vec<String>,
    #[command(flatten)]
    pub(crate) into: Destination,
    /// Take the head from here alone, and lists and layers from here first
    #[arg(long, value_name = "SOURCE")]
    pub(crate) meta: Option<String>,
    #[command(flatten)]
    pub(crate) trust: Trust,
    #[command(flatten)]
    pub(crate) which: Which,
    /// Take whichever model the sources serve, in place of --name or --head
    #[arg(long, conflicts_with_all = ["name", "head", "hf_cache"], help_heading = "Which model")]
    pub(crate) any_name: bool,
    /// Fetch matching files only; may be given several times; `*` does not match `/`, `**` does
    #[arg(long, value_name = "GLOB")]
    pub(crate) only: Vec<String>,
    /// Fetch the chunks that hold matching tensors; may be given several times
    ///
    /// With --only too, what either of them names is fetched. A file that is there in part never gets its name.
    #[arg(long, value_name = "GLOB", conflicts_with = "hf_cache")]
    pub(crate) tensor: Vec<String>,
    /// Remove files that the head does not list, once the model is complete, and what other fetches left unfinished
    ///
    /// Only in a folder that has had an earlier release of the same model, and from which this fetch does not read.
    #[arg(long, conflicts_with = "hf_cache")]
    pub(crate) prune: bool,
    /// Replace another model in the folder: its head and lists, and files that have the names of fetched ones. In a cache:
    /// replace `refs/main` even if another program has written it
    #[arg(long)]
    pub(crate) replace: bool,
    /// About how much memory to use, lists and layers apart; less than 34 MiB, or 64 MiB for chunks of 16 MiB, is not enough
    #[arg(long, value_name = "SIZE", value_parser = byte_size, default_value = "128MiB")]
    pub(crate) memory: u64,
    /// How much to receive per second at most, of all sources together: 50MB, or by the local time of day, as in
    /// '08:00-18:00 50MB, else unlimited' or 'mon-fri 08:00-18:00 50MB, else unlimited'
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) limit_rate: Option<Schedule>,
    /// Send a header to a source, or to the address of --swarm, named as above; may be given several times
    ///
    /// The line is `Name: value`, or @FILE for a file of such lines. A secret belongs in a file: everyone on this machine
    /// can read arguments. Headers are not sent on to where a source redirects.
    #[arg(long, num_args = 2, value_names = ["SOURCE", "LINE"])]
    pub(crate) header: Vec<String>,
    #[command(flatten)]
    pub(crate) membership: swarm::Membership,
}

/// Fetch a model that nobody weighed, check it by what its place lists, weigh it and sign it by your own key
///
/// The place is a hub, hf://ORG/NAME or hf://ORG/NAME@REV, or the https folder of a SHA256SUMS file. Listing and digests
/// come from one server, and the head says so: that you took the files from there at that time, not that the publisher made
/// them. What has come stays when an import is ended, and the next one goes on from there.
#[derive(Parser)]
#[command(after_help = examples::IMPORT)]
pub(crate) struct Import {
    /// Where the model is listed
    pub(crate) place: String,
    #[command(flatten)]
    pub(crate) into: Destination,
    /// A secret key of yours to sign with; may be given several times
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) key: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseSource,
    /// Do not look into tensor files: the head says `tensors none`
    #[arg(long)]
    pub(crate) no_tensors: bool,
    /// The model's name [default: that of the hub]
    #[arg(long, value_name = "ORG/MODEL", value_parser = model_name)]
    pub(crate) name: Option<ModelName>,
    /// Make what is listed now the next revision of the model that is there; what has not changed is not fetched
    #[arg(long)]
    pub(crate) update: bool,
    /// Replace `refs/main` in the cache even if another program has written it; the files of its snapshot are not fetched again
    #[arg(long, requires = "hf_cache")]
    pub(crate) replace: bool,
}

/// Publish models over HTTP: for `weighbridge fetch`, for clients of a hub, and for anything that asks for files
///
/// Every chunk is hashed in the buffer from which it is sent: of a file that has changed on disk no byte of a bad chunk is given.
/// A new revision in a folder is served without a restart. Clients of a hub work with HF_ENDPOINT=http://ADDRESS; they verify
/// nothing themselves.
///
/// The first Ctrl-C or SIGTERM ends it once the answers under way are sent, with exit status 0; a second one, at least 0.2 s later, at once.
#[derive(Parser)]
#[command(after_help = examples::SERVE)]
pub(crate) struct Serve {
    /// Model folders, or folders that have some in them: DIR/MODEL or DIR/ORG/MODEL
    #[arg(value_name = "MODEL", required_unless_present = "accept")]
    pub(crate) models: Vec<PathBuf>,
    /// The address to listen at; port 0 is any that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// The certificates for TLS, in PEM, that of the server first; read again when the file changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) cert: Option<PathBuf>,
    /// The secret key of the certificate, in PEM
    #[arg(long = "key", id = "tls_key", value_name = "FILE", requires = "cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Answer clients of a hub without TLS on other addresses than loopback: whoever is on the way can change what they get
    #[arg(long)]
    pub(crate) insecure_http: bool,
    /// A name under which this server is reached, beside localhost and addresses; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Vec<String>,
    /// Answer the clients of this file alone: lines of `NAME SHA-256-OF-TOKEN read ORG/*` or `NAME SHA-256-OF-TOKEN push ORG/* QUOTA`;
    /// read again when it changes
    #[arg(long, value_name = "FILE")]
    pub(crate) tokens: Option<PathBuf>,
    /// Take models that others push, into this folder, and serve them; without --tokens on loopback alone
    ///
    /// A model lies in DIR/ORG/NAME. The heads that were accepted are remembered in DIR/.heads.json, so that no older revision takes
    /// the place of a newer one.
    #[arg(long, value_name = "DIR", requires = "node_key")]
    pub(crate) accept: Option<PathBuf>,
    /// The trust policy by which heads of pushed models are judged, in TOML; read again for each
    #[arg(long, value_name = "POLICY", requires = "accept", conflicts_with = "vkeys")]
    pub(crate) trust: Option<PathBuf>,
    /// The vkey line of a signer whose models are taken, or its file, in place of a policy; may be given several times
    #[arg(long = "vkey", id = "vkeys", value_name = "VKEY", requires = "accept")]
    pub(crate) vkeys: Vec<String>,
    /// The secret key of this node, to sign receipts, and answers to the auditors that --auditor names
    #[arg(long, value_name = "FILE")]
    pub(crate) node_key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseSource,
    /// The vkey line of an auditor whose challenges are answered, or its file; may be given several times
    #[arg(long, value_name = "VKEY", requires = "node_key")]
    pub(crate) auditor: Vec<String>,
    /// Be a tracker of swarms too, at this address: nodes that fetch the same model share it
    #[arg(long, value_name = "ADDRESS", requires = "ticket")]
    pub(crate) tracker: Option<SocketAddr>,
    /// The ticket of a swarm; may be given several times
    #[arg(long, value_name = "FILE", requires = "tracker")]
    pub(crate) ticket: Vec<PathBuf>,
    /// How many connections to have at once
    #[arg(long, value_name = "NUMBER", default_value = "1024", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) connections: u16,
    /// How much to send per second at most, to all clients together: 50MB, or by the local time of day, as in
    /// '08:00-18:00 50MB, else unlimited'
    ///
    /// Clients have equal shares of it, by token, else by address. When it is used up, clients beyond those that it is enough for wait,
    /// or are told when to come again.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) limit_rate: Option<Schedule>,
    /// How much memory to use for what is sent, of all connections together
    #[arg(long, value_name = "SIZE", value_parser = byte_size, default_value = "256MiB")]
    pub(crate) memory: u64,
    /// How to write the log on standard error
    #[arg(long, value_name = "FORM", value_enum, default_value_t = LogForm::Text)]
    pub(crate) log: LogForm,
}

/// Bring a model to servers that take models (`weighbridge serve --accept`), or to buckets
///
/// The bar counts what a server has verified. What it has is not sent again, in this run or the next. In the end it signs a receipt, by
/// the key that you name.
///
/// Exit status: 0 if every target has the model, else 1 or 2.
#[derive(Parser)]
#[command(after_help = examples::PUSH)]
pub(crate) struct Push {
    /// The weighed folder
    pub(crate) model: PathBuf,
    /// Where to: https://HOST, or https://HOST#VKEY; s3://BUCKET/FOLDER, gs:// or az://
    #[arg(value_name = "TARGET", required = true)]
    pub(crate) targets: Vec<String>,
    /// The vkey line of the servers that have none in their TARGET, or its file
    #[arg(long, value_name = "VKEY")]
    pub(crate) receiver: Option<String>,
    /// Send the token in FILE to a target, named as above; may be given several times
    #[arg(long, num_args = 2, value_names = ["TARGET", "FILE"])]
    pub(crate) token: Vec<String>,
    /// Where to put the receipts
    #[arg(long, value_name = "DIR")]
    pub(crate) receipts: Option<PathBuf>,
    /// How much to send per second at most, to all targets together: 50MB, or by the local time of day, as in
    /// '08:00-18:00 50MB, else unlimited'
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) limit_rate: Option<Schedule>,
}

/// The form of a log
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogForm {
    /// Lines for people
    Text,
    /// An object a line
    Json,
    /// Nothing
    Off,
}

/// The place for a model
#[derive(Parser)]
#[group(required = true, multiple = false)]
pub(crate) struct Destination {
    /// The folder for the model
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Put the model into a Hugging Face cache, where loaders find it [default DIR: where Hugging Face's clients have theirs]
    ///
    /// That is $HF_HUB_CACHE, or `hub` in $HF_HOME, or `huggingface/hub` in $XDG_CACHE_HOME or ~/.cache. A folder has to
    /// be joined by `=`: `--hf-cache=DIR`. With HF_HUB_OFFLINE=1 loaders take the model from there by its name, and never ask a hub.
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    pub(crate) hf_cache: Option<Option<PathBuf>>,
}

/// Compare two models, or two variants of one, by their metadata: which files and tensors are the same, and which not
///
/// `same`: both have it. `moved`: the same bytes under another name. `changed`: other bytes under the same name. `added`
/// and `gone`: one of them alone has it. Tensors are compared by name, in whichever file they lie. No weights are read or
/// needed. The lists are checked against their heads; without --trust and --vkey these are claims, and so is the result.
///
/// Exit status: 0 whatever differs, 1 if a head or list is refused, 2 if it could not be told (usage, I/O).
#[derive(Parser)]
#[command(after_help = examples::DIFF)]
pub(crate) struct Diff {
    /// The old model's folder, or its metadata
    pub(crate) old: PathBuf,
    /// The new model's folder, or its metadata
    pub(crate) new: PathBuf,
    #[command(flatten)]
    pub(crate) trust: Trust,
}

/// Show what a file claims, believing none of it: a head, metadata, a proof, a challenge, a report, a receipt, an index, a
/// safetensors or GGUF file whatever its name
#[derive(Parser)]
#[command(after_help = examples::INSPECT)]
pub(crate) struct Inspect {
    /// The file, the metadata, or the model folder
    #[arg(value_name = "FILE-OR-MODEL")]
    pub(crate) target: PathBuf,
}

/// Print a completion script for a shell
#[derive(Parser)]
#[command(after_help = examples::COMPLETIONS)]
pub(crate) struct Completions {
    pub(crate) shell: Shell,
}

/// Write the manual pages: one for each command
#[derive(Parser)]
#[command(after_help = examples::MAN)]
pub(crate) struct Man {
    /// The folder to write to
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
}

/// Whom to believe. Commands that need to know it take the user's policy if nothing is given here; see `trust`.
#[derive(Parser)]
#[command(next_help_heading = "Trust")]
pub(crate) struct Trust {
    /// A trust policy
    #[arg(long, value_name = "POLICY", conflicts_with = "vkeys")]
    pub(crate) trust: Option<PathBuf>,
    /// A public key: a vkey line, or a file with one; of several, any one suffices
    #[arg(long = "vkey", id = "vkeys", value_name = "LINE-OR-FILE")]
    pub(crate) vkeys: Vec<String>,
}

/// Which head is wanted.
#[derive(Parser)]
#[command(next_help_heading = "Which model")]
pub(crate) struct Which {
    /// Only the model of this name
    #[arg(long, value_name = "ORG/MODEL", value_parser = model_name)]
    pub(crate) name: Option<ModelName>,
    /// Only this head; without --trust and --vkey its id is trust enough
    #[arg(long, value_name = "ID", value_parser = head_id)]
    pub(crate) head: Option<HeadId>,
    /// No earlier revision than this
    #[arg(long, value_name = "N")]
    pub(crate) min_revision: Option<u64>,
    /// Where accepted heads are remembered [default: in the user's state folder]
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// Go on with a head that has expired
    #[arg(long)]
    pub(crate) allow_expired: bool,
}

/// Where a passphrase comes from. Never from an argument: arguments are public.
#[derive(Parser)]
pub(crate) struct PassphraseSource {
    /// Read the passphrase from the first line of a file
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_fd")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Read the passphrase from the first line of a file descriptor
    #[arg(long, value_name = "N")]
    pub(crate) passphrase_fd: Option<u32>,
}

fn model_name(text: &str) -> Result<ModelName, weighbridge_manifest::NameError> {
    ModelName::parse(text)
}

fn head_id(text: &str) -> Result<HeadId, weighbridge_tree::HashError> {
    HeadId::from_hex(text)
}

fn time(text: &str) -> Result<Time, weighbridge_manifest::TimeError> {
    Time::parse(text)
}

fn byte_range(text: &str) -> Result<Range<u64>, String> {
    let written = text.split_once("..").and_then(|(a, b)| Some(a.parse().ok()?..b.parse().ok()?));
    written.ok_or_else(|| {
        "a range is written like 0..1024: from the first byte to the one behind the last".to_owned()
    })
}

/// In seconds.
fn duration(text: &str) -> Result<u64, String> {
    const UNITS: [(char, u64); 4] = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];
    let unit = UNITS.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(*unit)?, seconds)));
    let written = unit.and_then(|(digits, seconds)| digits.parse::<u64>().ok()?.checked_mul(*seconds));
    written.ok_or_else(|| "a time is written like 90s, 10m, 24h or 7d".to_owned())
}

fn chunk_size(text: &str) -> Result<ChunkSize, String> {
    let size = byte_size(text).map_err(|error| error.to_string())?;
    ChunkSize::new(size).map_err(|error| error.to_string())
}

/// Bytes per second, by the time of day.
fn rate(text: &str) -> Result<Schedule, ScheduleError> {
    Schedule::parse(text)
}

fn ext(text: &str) -> Result<weighbridge_manifest::Ext, String> {
    let (key, value) = text.split_once('=').ok_or("an ext line is written KEY=VALUE")?;
    Ok(weighbridge_manifest::Ext { key: key.to_owned(), value: value.to_owned() })
}
