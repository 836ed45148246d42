//! The memory that a hostile header costs. This test has a process of its own, since it measures the memory of the
//! process.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;

use weighbridge_store::{Coded, Event, ExtraFiles, ModelCheck, Outcome, TensorHashing};
use weighbridge_testkit::{Draft, Folder, bytes};
use weighbridge_verify::tree::ChunkSize;

/// The number of KiB that `/proc/self/status` gives for `key`.
fn status(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

/// A file whose header has about `len` bytes and takes five times as much memory to parse.
fn hostile(len: usize) -> Vec<u8> {
    let mut header = String::from("{");
    for i in 0.. {
        if header.len() + 80 > len {
            break;
        }
        let comma = if i == 0 { "" } else { "," };
        header += &format!(r#"{comma}"{i:x}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#);
    }
    header.push('}');
    [&u64::try_from(header.len()).unwrap().to_le_bytes(), header.as_bytes()].concat()
}

#[test]
fn the_header_of_a_file_that_is_not_the_signed_one_is_not_parsed() {
    // Regression: parsing a header of 100 MB took 547 MB before the file's root was compared with the signed one.
    const LEN: usize = 40 << 20;
    let folder = Folder::of(&[("m.safetensors", hostile(LEN))]);
    let len = usize::try_from(fs::metadata(folder.at("m.safetensors")).unwrap().len()).unwrap();
    let signed = Draft::of(&[("m.safetensors", bytes(len, 1))], ChunkSize::MAX).sign();
    for tensor_hashes in [TensorHashing::Skip, TensorHashing::Check] {
        let check = ModelCheck {
            model: folder.path(),
            files: &signed.files,
            tensors: signed.tensors.as_ref(),
            layers: None,
            only: None,
            tensor_hashes,
            extra: ExtraFiles::Refuse,
        };
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = status("VmRSS");
        let summary = check
            .run(&|event| {
                let Event::File(report) = event else { return };
                let Outcome::Refused(faults) = &report.outcome else { panic!("{report:?}") };
                assert!(faults.iter().map(|f| f.error_code().get()).eq([2101]));
            })
            .unwrap();
        assert_eq!(summary.refused, 1);
        let more = status("VmHWM").saturating_sub(before);
        // The margin holds the header itself and the buffers.
        assert!(more < (60 << 10), "{more} KiB");
    }
}
