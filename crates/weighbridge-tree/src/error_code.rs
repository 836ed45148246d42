//! The stable numbers of refusals, as `spec/error-codes.md` lists them.

use core::{error::Error, fmt};

/// A number in `spec/error-codes.md`.
///
/// # Guarantee
/// Every value is one of the constants below, which are the rows of that page: nobody can make another one. A number never
/// changes its meaning in a later version, and is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(u16);

/// An error that has a stable number.
///
/// An error that may wrap an error of the caller's, such as [`PartError`](crate::PartError), does not implement this
/// trait. It has a method of the same name that gives `None` for the caller's error.
pub trait Coded: Error {
    /// The number that `spec/error-codes.md` gives this error.
    ///
    /// # Cost
    /// No allocation, and no I/O.
    #[must_use]
    fn error_code(&self) -> ErrorCode;
}

impl ErrorCode {
    /// The number itself: four digits, and never 0.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Tells whether bytes were read and found bad.
    ///
    /// Codes from 9000 up are no refusals: no judgement was reached. Nor are [`SAFETENSORS_UNKNOWN_DTYPE`] and
    /// [`GGUF_UNKNOWN_DTYPE`], which say why less is known of a file that is not refused.
    ///
    /// [`SAFETENSORS_UNKNOWN_DTYPE`]: Self::SAFETENSORS_UNKNOWN_DTYPE
    /// [`GGUF_UNKNOWN_DTYPE`]: Self::GGUF_UNKNOWN_DTYPE
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        self.0 < 9000 && !matches!(self, Self::SAFETENSORS_UNKNOWN_DTYPE | Self::GGUF_UNKNOWN_DTYPE)
    }
}

impl fmt::Display for ErrorCode {
    /// Writes the four digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! codes {
    ($($(#[doc = $meaning:literal])+ $name:ident = $number:literal;)+) => {
        impl ErrorCode {
            $(
                $(#[doc = $meaning])+
                #[doc = concat!("\nThe number is ", $number, ".")]
                pub const $name: Self = Self($number);
            )+

            /// All codes, in ascending order.
            pub const ALL: &[Self] = &[$(Self::$name),+];
        }
    };
}

// The rows of `spec/error-codes.md` that are not retired, with their meanings. `cargo xtask rules` compares the two.
codes! {
    // 11xx: the signed note
    /// The note is longer than 131,072 bytes.
    NOTE_TOO_LONG = 1101;
    /// The note is not UTF-8, or has a character below U+0020 other than LF.
    NOTE_CHARACTERS = 1102;
    /// The note has no blank line between a text and its signatures, or does not end with LF.
    NOTE_STRUCTURE = 1103;
    /// A signature line is malformed.
    NOTE_SIGNATURE_LINE = 1104;
    /// The note has more than 100 signature lines.
    NOTE_TOO_MANY_SIGNATURES = 1105;

    // 12xx: the head's text
    /// The text is longer than 4,096 bytes.
    HEAD_TOO_LONG = 1201;
    /// The first line names a version that is not known.
    HEAD_VERSION = 1202;
    /// A line is missing, unknown, repeated or out of order.
    HEAD_LINE = 1203;
    /// The value of a line is malformed.
    HEAD_VALUE = 1204;
    /// Two lines contradict each other.
    HEAD_CONTRADICTION = 1205;

    // 13xx: the lists
    /// The list's length in bytes is not the signed one.
    LIST_LENGTH = 1301;
    /// A line is not in canonical form.
    LIST_LINE_NOT_CANONICAL = 1302;
    /// A line is longer than 8,192 bytes.
    LIST_LINE_TOO_LONG = 1303;
    /// Lines are out of order.
    LIST_ORDER = 1304;
    /// Two lines name the same entry.
    LIST_DUPLICATE = 1305;
    /// The number of lines is not the signed one.
    LIST_COUNT = 1306;
    /// The sizes of the files do not add up to the signed sum.
    LIST_SUM = 1307;
    /// The list does not hash to the signed root.
    LIST_ROOT = 1308;
    /// A tensor's file is not in the file list, or is no tensor file.
    LIST_NO_TENSOR_FILE = 1309;
    /// A tensor does not lie within its file.
    LIST_TENSOR_OUTSIDE_FILE = 1310;
    /// Some files have a `sha256` and some do not.
    LIST_MIXED_SHA256 = 1311;
    /// One file's path is a parent folder of another's.
    LIST_FILE_IS_PARENT = 1312;

    // 14xx: paths and tensor names
    /// The path is empty or longer than 1,024 bytes.
    PATH_LENGTH = 1401;
    /// The path is absolute.
    PATH_ABSOLUTE = 1402;
    /// A component is empty.
    PATH_EMPTY_COMPONENT = 1403;
    /// A component is `.` or `..`.
    PATH_DOT_COMPONENT = 1404;
    /// A control character.
    PATH_CONTROL_CHARACTER = 1405;
    /// A backslash.
    PATH_BACKSLASH = 1406;
    /// A component looks like a drive (`C:`).
    PATH_DRIVE = 1407;
    /// A component is longer than 255 bytes.
    PATH_LONG_COMPONENT = 1408;
    /// A component is `.git`.
    PATH_GIT = 1409;
    /// The path lies in `weighbridge` or in a `.cache/huggingface`.
    PATH_RESERVED = 1410;
    /// The name on disk is not UTF-8.
    PATH_NOT_UTF8 = 1411;
    /// The name is not in Unicode form NFC (refused when weighing).
    PATH_NOT_NFC = 1421;
    /// Two paths, or folders of them, are the same where case does not count (refused when weighing).
    PATH_SAME_IN_ANOTHER_CASE = 1422;
    /// Windows takes the path for one in `.git`, `weighbridge` or `.cache/huggingface` (refused when weighing).
    PATH_RESERVED_ON_WINDOWS = 1423;
    /// A name has a character that is not seen (refused when weighing, and in names of new keys).
    NAME_UNSEEN_CHARACTER = 1424;
    /// The tensor name is empty or longer than 1,024 bytes.
    TENSOR_NAME_LENGTH = 1431;
    /// The tensor name has a control character.
    TENSOR_NAME_CONTROL_CHARACTER = 1432;

    // 15xx: public keys
    /// The vkey line is malformed.
    VKEY_MALFORMED = 1501;
    /// The vkey's key id is not that of its name and key.
    VKEY_ID = 1502;
    /// The vkey's signature type is not Ed25519 (0x01).
    VKEY_TYPE = 1503;
    /// The key is no canonical encoding of a curve point.
    KEY_ENCODING = 1504;
    /// The key is weak: a point of small order.
    KEY_WEAK = 1505;
    /// The key has a torsion component.
    KEY_TORSION = 1506;
    /// The PEM is not an Ed25519 public key.
    KEY_PEM = 1507;

    // 16xx: the trust policy
    /// The policy is not well-formed TOML 1.0 in UTF-8, of the known keys.
    POLICY_MALFORMED = 1601;
    /// Two publishers have the same scope and role.
    POLICY_SAME_SCOPE = 1602;
    /// A scope is malformed.
    POLICY_SCOPE = 1603;
    /// A threshold is zero or higher than the number of distinct keys.
    POLICY_THRESHOLD = 1604;
    /// The policy, a publisher or `held` trusts nobody.
    POLICY_TRUSTS_NOBODY = 1605;
    /// A key's `from` is not before its `until`.
    POLICY_KEY_DATES = 1606;
    /// A role is neither `publisher` nor `import`.
    POLICY_ROLE = 1607;

    // 17xx: small values
    /// A model name is malformed.
    MODEL_NAME_MALFORMED = 1701;
    /// A time is malformed.
    TIME_MALFORMED = 1702;
    /// A hash is malformed.
    HASH_MALFORMED = 1703;
    /// A chunk size is no power of two from 16,384 to 16,777,216.
    CHUNK_SIZE = 1704;

    // 18xx: statements
    /// The text is longer than 4,096 bytes.
    STATEMENT_TOO_LONG = 1801;
    /// The first line names another kind of text, or a version that is not known.
    STATEMENT_FIRST_LINE = 1802;
    /// A line is missing, unknown, repeated or out of order.
    STATEMENT_LINE = 1803;
    /// The value of a line is malformed.
    STATEMENT_VALUE = 1804;
    /// Two lines contradict each other.
    STATEMENT_CONTRADICTION = 1805;

    // 19xx: swarms
    /// A ticket is longer than 65,536 bytes.
    TICKET_TOO_LONG = 1901;
    /// The first line of a ticket names a version that is not known.
    TICKET_VERSION = 1902;
    /// A line of a ticket is missing, unknown, repeated or out of order.
    TICKET_LINE = 1903;
    /// The value of a line of a ticket is malformed.
    TICKET_VALUE = 1904;
    /// A message of a member is malformed.
    SWARM_MESSAGE = 1911;
    // 21xx: files and chunks
    /// A file does not match its signed root; an empty file is told so by its layer already.
    FILE_MISMATCH = 2101;
    /// A chunk does not match the signed root.
    CHUNK_MISMATCH = 2102;
    /// A file, or a stream of it or of a run of its chunks, has another length than the signed one.
    FILE_LENGTH = 2103;
    /// A listed file is missing.
    FILE_MISSING = 2104;
    /// A file is not listed.
    FILE_NOT_LISTED = 2105;
    /// A file changed while it was read, or since it was opened.
    FILE_CHANGED = 2106;
    /// A chunk has another length than its place in the file gives.
    CHUNK_LENGTH = 2107;
    /// A chunk index is past the end of the file.
    CHUNK_PAST_END = 2108;
    /// A file is larger than 2^53 − 1 bytes.
    FILE_TOO_LARGE = 2109;

    // 22xx: chunk layers
    /// The layers have another length than the file list gives.
    LAYERS_LENGTH = 2201;
    /// A file's layer does not merge to its root.
    LAYER_MISMATCH = 2202;

    // 23xx: tensors and their verified headers
    /// A listed tensor is not in its file's verified header.
    TENSOR_NOT_IN_HEADER = 2301;
    /// A tensor of the verified header is not listed, and others of its file are.
    TENSOR_NOT_LISTED = 2302;
    /// A tensor's dtype differs.
    TENSOR_DTYPE = 2303;
    /// A tensor's shape differs.
    TENSOR_SHAPE = 2304;
    /// A tensor's offset differs.
    TENSOR_OFFSET = 2305;
    /// A tensor's size differs.
    TENSOR_SIZE = 2306;
    /// A tensor's hash is of other bytes.
    TENSOR_MISMATCH = 2307;

    // 24xx: tree proofs
    /// The count of the list is zero or above 2^24.
    TREE_COUNT = 2401;
    /// Positions do not strictly increase, or there are none.
    TREE_ORDER = 2402;
    /// A position is not below the count.
    TREE_POSITION = 2403;
    /// The number of sibling hashes is not the one that the positions give.
    TREE_SIBLING_COUNT = 2404;
    /// The entries do not lead to the signed root.
    TREE_MISMATCH = 2405;
    /// More than 4,096 entries in one proof.
    TREE_TOO_MANY_ENTRIES = 2406;

    // 25xx: proofs
    /// The proof is longer than 41,943,040 bytes.
    PROOF_TOO_LONG = 2501;
    /// The first line names a version that is not known.
    PROOF_VERSION = 2502;
    /// A line is malformed, or out of its place.
    PROOF_LINE = 2503;
    /// A tensor's file is not among the proof's files.
    PROOF_FILE_NOT_SHOWN = 2504;
    /// A path is not shown to be absent.
    PROOF_NOT_ABSENT = 2505;
    /// The proof is of another head than the one that is held.
    PROOF_OF_ANOTHER_HEAD = 2506;
    /// The proof does not show what the caller wants.
    PROOF_LACKS_WANTED = 2507;

    // 26xx: slices
    /// The range is empty, turned round, or past the end of the file.
    SLICE_RANGE = 2601;
    /// The slice has another length than its range gives.
    SLICE_LENGTH = 2602;
    /// The slice is of a file of another size.
    SLICE_FILE_SIZE = 2603;
    /// A part of the slice does not lead to the file's root.
    SLICE_MISMATCH = 2604;
    /// The proof does not say of what the slice is.
    SLICE_FILE_NOT_SHOWN = 2605;

    // 27xx: audits
    /// The challenge is of another head.
    CHALLENGE_OF_ANOTHER_HEAD = 2701;
    /// The challenge is for another prover.
    CHALLENGE_FOR_ANOTHER_PROVER = 2702;
    /// The model has no bytes to sample.
    CHALLENGE_NO_BYTES = 2703;
    /// The response came after the deadline.
    RESPONSE_LATE = 2704;
    /// The response came before the challenge was issued.
    RESPONSE_EARLY = 2705;
    /// The challenge's nonce was answered before.
    CHALLENGE_REPLAYED = 2706;
    /// The response has another length than the samples give.
    RESPONSE_LENGTH = 2707;
    /// The prover's signature is not over this challenge and response.
    RESPONSE_SIGNATURE = 2708;
    /// The samples of a file do not lead to its root.
    RESPONSE_MISMATCH = 2709;

    // 31xx and 32xx: heads
    /// A signature by a known key does not verify.
    BAD_SIGNATURE = 3101;
    /// No signature is by a known key.
    NO_KNOWN_KEY = 3102;
    /// Fewer distinct keys signed than the threshold demands.
    TOO_FEW_KEYS = 3103;
    /// The keys that signed and are missing from the threshold are revoked.
    KEYS_REVOKED = 3104;
    /// The keys that signed and are missing from the threshold were out of date when the head was created.
    KEYS_OUT_OF_DATE = 3105;
    /// No publisher's scope covers the model's name.
    OUT_OF_SCOPE = 3106;
    /// The head is of another model than the one wanted.
    ANOTHER_MODEL = 3201;
    /// The head is another than the one wanted.
    ANOTHER_HEAD = 3202;
    /// The revision is lower than the least one wanted.
    OLD_REVISION = 3203;
    /// Rollback: the revision is lower than one accepted before.
    ROLLBACK = 3204;
    /// Fork: two heads claim the same place in the model's history.
    FORK = 3205;
    /// The head was created more than a day in the future.
    FROM_THE_FUTURE = 3206;
    /// The head has expired.
    EXPIRED = 3207;
    /// The head expires, and the time is not known.
    TIME_UNKNOWN = 3208;

    // 33xx: statements of others
    /// A statement is not signed by the key that has to have signed it.
    STATEMENT_NOT_SIGNED = 3301;
    /// A report or a receipt is of another head.
    STATEMENT_OF_ANOTHER_HEAD = 3302;
    /// Fewer reports count than the policy demands.
    TOO_FEW_REPORTS = 3303;
    /// The policy lists no auditors.
    NO_AUDITORS = 3304;
    /// A receipt does not answer the nonce that was sent.
    STATEMENT_NONCE = 3305;

    // 41xx: safetensors
    /// The file is too short to hold a header length.
    SAFETENSORS_TOO_SHORT = 4101;
    /// The header is longer than 100,000,000 bytes.
    SAFETENSORS_HEADER_TOO_LONG = 4102;
    /// The header is longer than the file.
    SAFETENSORS_HEADER_PAST_END = 4103;
    /// The header does not begin with `{`.
    SAFETENSORS_HEADER_START = 4104;
    /// The header is not one JSON object with nothing but white space around it.
    SAFETENSORS_NOT_JSON = 4105;
    /// A name occurs twice.
    SAFETENSORS_REPEATED_NAME = 4106;
    /// An entry lacks a key, has an unknown or repeated one, or a value of another type.
    SAFETENSORS_ENTRY = 4107;
    /// A dtype is not known; not a refusal of the file, but why its tensors are not listed or compared.
    SAFETENSORS_UNKNOWN_DTYPE = 4108;
    /// A begin offset is after its end offset, or past what a file can hold.
    SAFETENSORS_OFFSETS = 4109;
    /// A tensor's bytes are not what its dtype and shape need.
    SAFETENSORS_TENSOR_SIZE = 4110;
    /// A tensor of a sub-byte dtype does not fill whole bytes.
    SAFETENSORS_NOT_WHOLE_BYTES = 4111;
    /// Bytes that belong to no tensor lie between tensors.
    SAFETENSORS_HOLE = 4112;
    /// Two tensors overlap.
    SAFETENSORS_OVERLAP = 4113;
    /// The file does not end where the last tensor ends.
    SAFETENSORS_FILE_END = 4114;
    /// A shape has more than 16 dimensions.
    SAFETENSORS_TOO_MANY_DIMENSIONS = 4115;
    /// `__metadata__` is neither an object of strings nor `null`.
    SAFETENSORS_METADATA = 4116;
    /// The file is a Git LFS pointer, not the model; when weighing, of a file of any format.
    LFS_POINTER = 4117;

    // 42xx: sharded index
    /// The index is malformed.
    INDEX_MALFORMED = 4201;
    /// The index names a file that the model does not have.
    INDEX_NO_FILE = 4202;
    /// The index names a tensor that the named file does not hold.
    INDEX_NO_TENSOR = 4203;
    /// The index names a tensor twice.
    INDEX_REPEATED_TENSOR = 4204;

    // 43xx: GGUF
    /// The file does not begin with `GGUF`.
    GGUF_MAGIC = 4301;
    /// The version is neither 2 nor 3.
    GGUF_VERSION = 4302;
    /// The file is big-endian.
    GGUF_BIG_ENDIAN = 4303;
    /// More than 1,048,576 tensors or key-values, or more than the file has room for.
    GGUF_COUNTS = 4304;
    /// The header goes on after the file's end.
    GGUF_HEADER_PAST_END = 4305;
    /// The header is longer than 100,000,000 bytes.
    GGUF_HEADER_TOO_LONG = 4306;
    /// A key is empty, longer than 65,535 bytes, or not UTF-8.
    GGUF_KEY = 4307;
    /// A type of values is not known.
    GGUF_VALUE_TYPE = 4308;
    /// Arrays are nested deeper than 8 levels.
    GGUF_NESTING = 4309;
    /// A bool is neither 0 nor 1.
    GGUF_BOOL = 4310;
    /// A tensor's name is not UTF-8.
    GGUF_TENSOR_NAME = 4311;
    /// A dimension is 2^53 or more.
    GGUF_DIMENSION = 4313;
    /// A dtype is not known; not a refusal of the file, but why its tensors are not listed or compared.
    GGUF_UNKNOWN_DTYPE = 4314;
    /// A first dimension is no multiple of its dtype's block.
    GGUF_BLOCK = 4315;
    /// A key occurs twice.
    GGUF_REPEATED_KEY = 4316;
    /// `general.alignment` is no 32-bit power of two from 8 to 1,048,576.
    GGUF_ALIGNMENT = 4317;
    /// The keys of a split are incomplete, of another type, or contradict each other.
    GGUF_SPLIT_KEYS = 4318;
    /// A tensor's name occurs twice.
    GGUF_REPEATED_NAME = 4319;
    /// A tensor's offset is no multiple of the alignment.
    GGUF_OFFSET = 4320;
    /// A tensor would end after the file.
    GGUF_TENSOR_PAST_END = 4321;
    /// Bytes that belong to no tensor, and are no padding, lie between tensors.
    GGUF_HOLE = 4322;
    /// Two tensors overlap, or one lies in the padding of another.
    GGUF_OVERLAP = 4323;
    /// The file ends neither with its last tensor nor with that one's padding.
    GGUF_FILE_END = 4324;
    /// A tensor has more than 16 dimensions.
    GGUF_TOO_MANY_DIMENSIONS = 4325;

    // 44xx: split models
    /// A part is not called as its header says.
    SPLIT_PART_NAME = 4401;
    /// A part of the split is missing.
    SPLIT_PART_MISSING = 4402;
    /// Two parts say different things about the split.
    SPLIT_CONTRADICTION = 4403;
    /// Two parts have a tensor of the same name.
    SPLIT_REPEATED_TENSOR = 4404;
    /// The parts have another number of tensors than they say.
    SPLIT_TENSOR_COUNT = 4405;

    // 5xxx: weighing and signing
    /// The model folder holds no file.
    FOLDER_EMPTY = 5101;
    /// A link leads out of the model.
    LINK_OUT = 5102;
    /// A link leads to a folder.
    LINK_TO_FOLDER = 5103;
    /// Neither a file nor a folder: FIFO, socket or device.
    SPECIAL_FILE = 5104;
    /// A link leads nowhere.
    LINK_BROKEN = 5105;
    /// The leftover of a download that did not end, or the file that lies beside it.
    DOWNLOAD_LEFTOVER = 5106;
    /// A file that an operating system keeps for itself.
    SYSTEM_FILE = 5107;
    /// A file to be reused has another size than the earlier entry.
    REUSE_SIZE = 5301;
    /// Nothing to reuse: no file here is both asked for and in the earlier list.
    REUSE_NOTHING = 5302;
    /// The earlier head has another chunk size.
    REUSE_CHUNK_SIZE = 5303;
    /// The earlier metadata lacks what the new one needs: layer, tensors or SHA-256.
    REUSE_LACKS_METADATA = 5304;
    /// The earlier head, named as previous, is of another model.
    PREVIOUS_OF_ANOTHER_MODEL = 5305;
    /// A reused index is not the earlier one.
    REUSE_INDEX = 5306;
    /// A signature is not by this key over this head.
    SIGNATURE_NOT_BY_KEY = 5401;
    /// A signature is not 64 bytes.
    SIGNATURE_LENGTH = 5402;
    /// A key file is malformed.
    KEY_FILE_MALFORMED = 5403;
    /// A passphrase is wrong.
    WRONG_PASSPHRASE = 5404;
    /// A secret key and the vkey beside it do not belong together.
    KEY_PAIR_MISMATCH = 5405;
    /// No source gives the signed bytes of what is missing: what came was refused.
    SOURCES_REFUSED = 5501;
    /// A file does not have the digest that its listing says.
    LISTED_MISMATCH = 5601;
    /// A file has another length than its listing says.
    LISTED_LENGTH = 5602;
    /// A file whose listing says the id of its Git blob is made for a collision of SHA-1.
    SHA1_COLLISION = 5603;
    /// The listing changed while the model was imported.
    LISTING_CHANGED = 5604;

    // 9xxx: no judgement reached
    /// Usage.
    USAGE = 9001;
    /// The operating system reported an error; the message names the file and what was being done.
    IO = 9002;
    /// No trust was given.
    NO_TRUST = 9003;
    /// The state file is malformed.
    STATE_FILE_MALFORMED = 9004;
    /// A passphrase is needed, and none was given that can be one.
    PASSPHRASE_NEEDED = 9005;
    /// Somebody else could change the user's policy.
    USER_POLICY_EXPOSED = 9006;
    /// The change would lose part of the user's policy: a stricter entry, unless `--replace` is given, or what was written
    /// into it by hand.
    USER_POLICY_LOSS = 9007;
    /// Metadata exists already; `--force` replaces it.
    METADATA_EXISTS = 9101;
    /// Another run is writing metadata in this place.
    FOLDER_BUSY = 9102;
    /// A key exists already and is never overwritten.
    KEY_EXISTS = 9103;
    /// The folder for metadata is a symbolic link.
    METADATA_FOLDER_IS_LINK = 9104;
    /// Something that is not weighbridge's lies among the new files of metadata.
    FOREIGN_AMONG_METADATA = 9105;
    /// The chunk layer is needed, and is not there.
    LAYER_NEEDED = 9106;
    /// Chunks are missing: the file, or the model, is not complete.
    INCOMPLETE = 9107;
    /// The release in the folder is being replaced by another, or was when a process was killed.
    BEING_REPLACED = 9108;
    /// No source can deliver what is missing.
    NO_SOURCE = 9201;
    /// A fetch was stopped.
    FETCH_STOPPED = 9202;
    /// The model was overwritten while it was fetched: every source that is left has a later revision.
    MODEL_OVERWRITTEN = 9203;
    /// Something else lies where a fetched file, or a folder for it, has to be.
    IN_THE_WAY = 9204;
    /// The folder to fetch into has a model of another name; `--replace` replaces it.
    FOLDER_HAS_ANOTHER_MODEL = 9205;
    /// `--prune` would remove files that may be anybody's: the folder never had this model, or a source lies in it.
    NOT_PRUNED = 9206;
    /// The folder to fetch into is a snapshot of a Hugging Face cache, in which only the hub's clients change files.
    HUB_SNAPSHOT = 9207;
    /// The files of a hub, or of a folder with `SHA256SUMS`, cannot be listed.
    NO_LISTING = 9208;
    /// A listing is malformed.
    LISTING_MALFORMED = 9209;
    /// A model of this name has no place of its own in a Hugging Face cache.
    NO_PLACE_IN_CACHE = 9210;
    /// `refs/main` in a Hugging Face cache names a revision that weighbridge did not put there; `--replace` replaces it.
    FOREIGN_REVISION = 9211;
    /// The receiver of a push refuses it.
    PUSH_REFUSED = 9301;
    /// The receiver of a push does not answer, or cannot take the model now.
    NO_RECEIVER = 9302;
    /// A push was stopped.
    PUSH_STOPPED = 9303;
    /// A swarm cannot be joined: its ticket has expired, is for another release, or does not list this member.
    SWARM_NOT_JOINED = 9401;
    /// The ticket of a swarm cannot be had from its address.
    TICKET_NOT_GIVEN = 9402;
    /// No node that answers runs with this cache.
    NO_NODE = 9501;
    /// A node does not do what it is told: the model is in use, pinned, being fetched, or not known.
    NODE_REFUSED = 9502;
    /// A fault of weighbridge; please report it.
    BUG = 9999;
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use super::*;

    #[test]
    fn codes_are_four_digits_in_ascending_order() {
        assert!(ErrorCode::ALL.is_sorted_by(|a, b| a < b));
        for code in ErrorCode::ALL {
            assert!((1000..=9999).contains(&code.get()));
            assert_eq!(code.to_string(), code.get().to_string());
        }
    }

    #[test]
    fn only_bytes_found_bad_are_refused() {
        let others = ErrorCode::ALL.iter().filter(|code| !code.is_refusal());
        let others: std::vec::Vec<_> = others.map(|code| code.get()).filter(|code| *code < 9000).collect();
        assert_eq!(others, [4108, 4314]);
        assert!(ErrorCode::KEY_PAIR_MISMATCH.is_refusal());
        assert!(!ErrorCode::USAGE.is_refusal());
        assert!(!ErrorCode::BUG.is_refusal());
    }
}
