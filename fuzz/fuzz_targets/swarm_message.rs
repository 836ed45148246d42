//! Messages of swarms: each message has exactly one form, another reading of the page comes to the same verdict, and no
//! header makes room for more than its kind may have. The input is the number of pieces in four bytes, then messages.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge_fuzz::{
    bounded,
    swarm::{Verdict, is_length, message},
};
use weighbridge_manifest::Coded;
use weighbridge_swarm::{HEADER, Header, MAX_PIECES, Message};

fuzz_target!(|data: &[u8]| {
    let Some((pieces, mut rest)) = data.split_first_chunk() else { return };
    let pieces = u32::from_le_bytes(*pieces) % (MAX_PIECES + 1);
    while let Some((header, content)) = rest.split_first_chunk::<HEADER>() {
        let Some(len) = read(*header, content, pieces) else { return };
        rest = content.get(len..).unwrap_or_default();
    }
});

/// Reads one message. Returns its length if a member would read on behind it.
fn read(bytes: [u8; HEADER], content: &[u8], pieces: u32) -> Option<usize> {
    let [kind, len @ ..] = bytes;
    let len = u32::from_le_bytes(len);
    assert_eq!(Header::is_about_pieces(bytes), (4..=7).contains(&kind));
    let header = bounded(HEADER, || Header::parse(bytes, pieces));
    assert_eq!(header.is_ok(), is_length(kind, len.into(), pieces.into()), "{bytes:?}");
    let header = match header {
        Ok(header) => header,
        Err(error) => {
            assert_eq!(error.error_code().get(), 1911);
            return None;
        }
    };
    assert!(header.len == len && len <= 8 + 32 * 65_536, "more than any kind has");

    let len = usize::try_from(len).ok()?;
    // What has not come entirely is refused, and so is a byte too many.
    assert!(content.len() == len || Message::parse(header, content, pieces).is_err());
    let content = content.get(..len)?;
    let expected = message(kind, header.len.into(), content, pieces.into());
    match bounded(len, || Message::parse(header, content, pieces)) {
        Err(error) => {
            assert_eq!((error.error_code().get(), expected), (1911, Verdict::Refused));
            return None;
        }
        Ok(None) => assert_eq!(expected, Verdict::PassedOver),
        Ok(Some(message)) => {
            assert_eq!(expected, Verdict::Read);
            assert_eq!(
                message.write(),
                [&bytes[..], content].concat(),
                "written again it is another message"
            );
            let changed = Message::parse(header, &content[..len.saturating_sub(1)], pieces);
            assert!(len == 0 || changed.is_err(), "a byte is missing");
        }
    }
    Some(len)
}
