//! The vectors of the specification that C programs can check give the same codes by way of C.

use std::{
    collections::BTreeMap,
    ffi::{CString, c_void},
    fs,
    path::{Path, PathBuf},
    ptr,
};

use weighbridge_capi::*;
use weighbridge_manifest::Time;
use weighbridge_verify::tree::head_id;

use crate::handle::{
    ANY, Failed, Handle, c, called, code, files, head, made, policy_of_head, policy_of_vkeys, text,
};

struct Vector {
    file: PathBuf,
    keys: BTreeMap<String, String>,
    sections: Vec<(String, Vec<u8>)>,
}

#[test]
fn the_codes_are_those_of_the_specification() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors");
    let mut count = 0;
    for kind in ["trust", "proof", "held", "audit", "list"] {
        for entry in fs::read_dir(vectors.join(kind)).unwrap() {
            let vector = Vector::parse(entry.unwrap().path());
            let expected = vector.key("code").map_or(0, |code| code.parse().unwrap());
            let found = match kind {
                "trust" => code(vector.trust()),
                "proof" => code(vector.proof()),
                "held" => code(vector.held()),
                "audit" => code(vector.audit()),
                _ => code(vector.list()),
            };
            let (file, comment) = (vector.file.display(), vector.key("comment"));
            assert_eq!(found, expected, "{file}: {comment:?}");
            assert_eq!(wb_is_refusal(found), (1..9000).contains(&found));
            count += 1;
        }
    }
    assert!(count > 300, "{count} vectors");
}

impl Vector {
    fn parse(file: PathBuf) -> Self {
        let bytes = fs::read(&file).unwrap();
        let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap();
        let keys = str::from_utf8(&bytes[..end]).unwrap().lines().map(|line| {
            let (key, value) = line.split_once(": ").unwrap();
            (key.to_owned(), value.to_owned())
        });
        let keys = keys.collect();
        let (mut rest, mut sections) = (&bytes[end + 2..], Vec::new());
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap();
            let title = str::from_utf8(&rest[..end]).unwrap().strip_prefix("--- ").unwrap();
            let (name, len) = title.rsplit_once(' ').unwrap();
            let (content, behind) = rest[end + 1..].split_at(len.parse().unwrap());
            sections.push((name.to_owned(), content.to_vec()));
            rest = &behind[1..];
        }
        Self { file, keys, sections }
    }

    fn key(&self, name: &str) -> Option<&str> {
        self.keys.get(name).map(String::as_str)
    }

    fn section(&self, name: &str) -> Option<&[u8]> {
        self.sections.iter().find(|(other, _)| other == name).map(|(_, bytes)| bytes.as_slice())
    }

    fn time(&self, key: &str) -> i64 {
        self.key(key).map_or(0, |time| Time::parse(time).unwrap().unix())
    }

    fn policy(&self) -> Handle<wb_policy> {
        if let Some(toml) = self.section("policy.toml") {
            // SAFETY: pointer and length are those of a slice.
            return made(|place, error| unsafe {
                wb_policy_of_toml(toml.as_ptr(), toml.len(), place, error)
            })
            .unwrap_or_else(|failed| panic!("{failed:?}"));
        }
        match self.section("vkeys") {
            Some(lines) => policy_of_vkeys(lines).ok().unwrap(),
            None => policy_of_head(self.key("head").unwrap()).ok().unwrap(),
        }
    }

    /// What is expected, for as long as the texts live.
    fn with_expected<T>(&self, work: impl FnOnce(&wb_expected) -> T) -> T {
        let [name, head] = ["name", "head"].map(|key| self.key(key).map(c));
        let pointer = |text: &Option<CString>| text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
        work(&wb_expected {
            name: pointer(&name),
            head: pointer(&head),
            min_revision: self.key("min-revision").map_or(0, |number| number.parse().unwrap()),
            allow_expired: self.key("allow-expired") == Some("yes"),
            now: self.time("now"),
            ..ANY
        })
    }

    fn trust(&self) -> Result<(), Failed> {
        let head = self
            .with_expected(|expected| head(self.section("head.note").unwrap(), &self.policy(), expected))?;
        let mut id = [0; WB_ID_LEN];
        // SAFETY: the place has room for an id.
        let signers = unsafe {
            wb_head_id(*head, id.as_mut_ptr());
            let signers = (0..wb_head_signers(*head)).map(|nth| text(wb_head_signer(*head, nth)));
            signers.collect::<Vec<_>>().join(" ")
        };
        let id: String = id[..64].iter().map(|digit| char::from(digit.to_le_bytes()[0])).collect();
        let answers = [("head-id", id), ("signers", signers)];
        for (key, answer) in answers {
            assert!(self.key(key).is_none_or(|known| known == answer), "{}: {key}", self.file.display());
        }
        Ok(())
    }

    /// The head that is taken as verified.
    fn believed(&self, name: &str) -> Handle<wb_head> {
        let text = str::from_utf8(self.section(name).unwrap()).unwrap();
        let policy = policy_of_head(&head_id(text.as_bytes()).to_string()).ok().unwrap();
        let note = format!("{text}\n\u{2014} nobody AAAAAAE=\n");
        head(note.as_bytes(), &policy, &ANY).unwrap_or_else(|failed| panic!("{failed:?}"))
    }

    fn proof(&self) -> Result<(), Failed> {
        let bytes = self.section("proof").unwrap();
        let proof = match self.section("held-head.txt") {
            Some(_) => {
                let head = self.believed("held-head.txt");
                // SAFETY: pointer and length are those of a slice.
                made(|place, error| unsafe {
                    wb_proof_verify_under(bytes.as_ptr(), bytes.len(), *head, place, error)
                })
            }
            None => self.with_expected(|expected| {
                // SAFETY: pointer and length are those of a slice.
                made(|place, error| unsafe {
                    wb_proof_verify(bytes.as_ptr(), bytes.len(), *self.policy(), expected, place, error)
                })
            }),
        }?;
        self.compare_proof(*proof);
        Ok(())
    }

    fn compare_proof(&self, proof: *const wb_proof) {
        let place = self.file.display();
        let lines = |name: &str| {
            let text = self.section(name).map(|text| str::from_utf8(text).unwrap());
            text.map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        };
        // SAFETY: the proof is a handle, the places are for what is asked for.
        unsafe {
            if let Some(known) = lines("files") {
                assert_eq!(wb_proof_files(proof), known.len(), "{place}");
                for (nth, line) in known.iter().enumerate() {
                    let (mut file, mut found) = (std::mem::zeroed(), std::mem::zeroed());
                    assert!(wb_proof_file(proof, nth, &raw mut file));
                    let path = text(file.path);
                    let root: String = file.root.iter().map(|byte| format!("{byte:02x}")).collect();
                    let begin = format!(
                        "{} {{\"file\":\"{path}\",\"size\":{},\"blake3\":\"{root}\"",
                        file.position, file.size
                    );
                    assert!(line.starts_with(&begin) || path.contains(['"', '\\']), "{place}: {line}");
                    assert!(wb_proof_find_file(proof, c(&path).as_ptr(), &raw mut found));
                    assert_eq!(found.position, file.position);
                    assert!(!wb_proof_is_absent(proof, c(&path).as_ptr()));
                }
                let mut none = std::mem::zeroed();
                assert!(!wb_proof_file(proof, known.len(), &raw mut none));
            }
            if let Some(known) = lines("tensors") {
                assert_eq!(wb_proof_tensors(proof), known.len(), "{place}");
                for (nth, line) in known.iter().enumerate() {
                    let (mut tensor, mut found) = (std::mem::zeroed(), std::mem::zeroed());
                    assert!(wb_proof_tensor(proof, nth, &raw mut tensor));
                    assert!(line.starts_with(&format!("{} ", tensor.position)), "{place}");
                    assert!(
                        line.contains(&format!("\"offset\":{},\"size\":{}", tensor.offset, tensor.size)),
                        "{line}"
                    );
                    let (file, name) = (c(&text(tensor.file)), c(&text(tensor.name)));
                    assert!(wb_proof_find_tensor(proof, file.as_ptr(), name.as_ptr(), &raw mut found));
                    assert_eq!(found.position, tensor.position);
                }
            }
            for path in lines("absent").unwrap_or_default() {
                assert!(wb_proof_is_absent(proof, c(&path).as_ptr()), "{place}");
                let mut none = std::mem::zeroed();
                assert!(!wb_proof_find_file(proof, c(&path).as_ptr(), &raw mut none));
            }
            if let Some(known) = lines("slice") {
                let mut slice = std::mem::zeroed();
                let found = wb_proof_slice(proof, &raw mut slice)
                    .then(|| format!("{} {}..{}", slice.file_position, slice.start, slice.end));
                assert_eq!(found.as_ref(), known.first(), "{place}");
            }
            assert!(!text(wb_head_name(wb_proof_head(proof))).is_empty());
        }
    }

    fn list(&self) -> Result<(), Failed> {
        let head = self.believed("head.txt");
        let files = files(*head, self.section("files.jsonl").unwrap())?;
        let Some(list) = self.section("tensors.jsonl") else { return Ok(()) };
        // SAFETY: pointer and length are those of a slice.
        let tensors: Handle<wb_tensors> = made(|place, error| unsafe {
            wb_tensors_verify(*files, list.as_ptr(), list.len(), place, error)
        })?;
        // SAFETY: the handles live.
        unsafe {
            for nth in 0..wb_tensors_count(*tensors) {
                let (mut tensor, mut found) = (std::mem::zeroed(), std::mem::zeroed());
                assert!(wb_tensors_get(*tensors, nth, &raw mut tensor));
                let (file, name) = (c(&text(tensor.file)), c(&text(tensor.name)));
                assert!(wb_tensors_find(*tensors, file.as_ptr(), name.as_ptr(), &raw mut found));
                let mut of_file = std::mem::zeroed();
                assert!(wb_files_find(*files, file.as_ptr(), &raw mut of_file));
                assert_eq!((found.position, of_file.position), (nth, tensor.file_position));
                assert!(tensor.offset + tensor.size <= of_file.size);
            }
        }
        Ok(())
    }

    fn held(&self) -> Result<(), Failed> {
        let head = self.believed("head.txt");
        let reports = self.sections.iter().filter(|(name, _)| name.starts_with("report "));
        let reports: Vec<_> =
            reports.map(|(_, note)| wb_bytes { data: note.as_ptr(), len: note.len() }).collect();
        let max_age = self.key("max-age").unwrap().parse().unwrap();
        let (mut counted, policy) = (0, self.policy());
        // SAFETY: pointers and lengths are those of slices.
        called(|error| unsafe {
            let (first, count) = (reports.as_ptr(), reports.len());
            wb_head_held(*head, *policy, first, count, self.time("now"), max_age, &raw mut counted, error)
        })?;
        assert!(self.key("reports").is_none_or(|known| known == counted.to_string()));
        Ok(())
    }

    fn audit(&self) -> Result<(), Failed> {
        unsafe extern "C" fn answered(context: *mut c_void, nonce: *const u8) -> bool {
            // SAFETY: the context is the vector, and a nonce has 32 bytes.
            let (vector, nonce) =
                unsafe { (&*context.cast::<Vector>(), std::slice::from_raw_parts(nonce, 32)) };
            let nonce: String = nonce.iter().map(|byte| format!("{byte:02x}")).collect();
            vector.key("answered").unwrap_or("").split(' ').any(|before| before == nonce)
        }
        let head = self.believed("head.txt");
        let files = files(*head, self.section("files.jsonl").unwrap())?;
        let vkey = c(str::from_utf8(self.section("vkey").unwrap()).unwrap().trim_end());
        let (challenge, response) =
            (self.section("challenge.note").unwrap(), self.section("response").unwrap());
        let context = ptr::from_ref(self).cast_mut().cast();
        // SAFETY: pointers and lengths are those of slices.
        called(|error| unsafe {
            wb_audit_check(
                *files,
                challenge.as_ptr(),
                challenge.len(),
                vkey.as_ptr(),
                response.as_ptr(),
                response.len(),
                self.time("received"),
                Some(answered),
                context,
                ptr::null_mut(),
                error,
            )
        })
    }
}
