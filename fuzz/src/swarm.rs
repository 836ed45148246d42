//! Reads tickets and messages of swarms, by the specification's page alone: line by line and with tables, and with
//! nothing of the crates or of the standard library that knows addresses, base64 or times.

/// The content of a ticket.
#[derive(Debug, PartialEq)]
pub struct Ticket {
    pub name: String,
    pub head: String,
    /// In seconds since 1970.
    pub expires: u64,
    pub is_open: bool,
    pub secret: Vec<u8>,
    pub trackers: Vec<String>,
    pub members: Vec<Vec<u8>>,
}

/// Reads a ticket, or says with which code it is refused.
pub fn ticket(bytes: &[u8]) -> Result<Ticket, u16> {
    if bytes.len() > 65_536 {
        return Err(1901);
    }
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let unended = lines.pop().expect("a split has a last part");
    if lines.first() != Some(&&b"weighbridge/swarm/v1"[..]) {
        return Err(1902);
    }
    let mut at = 1;
    let mut value = |key: &str| {
        let value = lines.get(at)?.strip_prefix(key.as_bytes())?.strip_prefix(b" ")?;
        at += 1;
        // A value that is not ASCII is malformed, and so is an empty one.
        Some(std::str::from_utf8(value).ok().filter(|value| value.is_ascii()).unwrap_or("").to_owned())
    };
    let good = |is_good: bool| if is_good { Ok(()) } else { Err(1904u16) };

    let name = value("name").ok_or(1903u16)?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    good(name.len() <= 255)?;
    good(
        name.split('/')
            .all(|part| part.chars().all(is_name) && !part.trim_start_matches(['.', '_', '-']).is_empty()),
    )?;
    good(
        !format!("/{name}").chars().zip(name.chars()).any(|(one, next)| one == '/' && "._-".contains(next)),
    )?;
    let head = value("head").ok_or(1903u16)?;
    good(head.len() == 64 && head.chars().all(|c| "0123456789abcdef".contains(c)))?;
    let expires = seconds(&value("expires").ok_or(1903u16)?).ok_or(1904u16)?;
    let (secret, is_open) = match value("secret") {
        Some(secret) => (secret, false),
        None => (value("open").ok_or(1903u16)?, true),
    };
    let secret = base64(&secret).filter(|bytes| bytes.len() == 32).ok_or(1904u16)?;
    let mut trackers = Vec::new();
    while let Some(tracker) = (trackers.len() < 8).then(|| value("tracker")).flatten() {
        good(is_address(&tracker) && !trackers.contains(&tracker))?;
        trackers.push(tracker);
    }
    let mut members: Vec<Vec<u8>> = Vec::new();
    while let Some(member) = (members.len() < 1024 && !is_open).then(|| value("member")).flatten() {
        let member = base64(&member).filter(|bytes| bytes.len() == 32).ok_or(1904u16)?;
        good(members.last().is_none_or(|last| *last < member))?;
        members.push(member);
    }
    if at < lines.len() || !unended.is_empty() {
        return Err(1903);
    }
    Ok(Ticket { name, head, expires, is_open, secret, trackers, members })
}

/// Seconds since 1970, counted day by day.
fn seconds(text: &str) -> Option<u64> {
    let digits: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    if digits != "0000-00-00T00:00:00Z" {
        return None;
    }
    let number = |at: usize, len: usize| text[at..at + len].parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    let months = |year: u64| {
        let is_leap = year % 400 == 0 || year % 4 == 0 && year % 100 != 0;
        [31, 28 + u64::from(is_leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    };
    let is_day = (1..=12).contains(&month) && (1..=months(year)[month as usize - 1]).contains(&day);
    if year < 1970 || !is_day || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let before: u64 = (1970..year).flat_map(months).sum();
    let days = before + months(year)[..month as usize - 1].iter().sum::<u64>() + day - 1;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Bytes from base64 with padding, in its one form.
fn base64(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let unpadded = text.trim_end_matches('=');
    let padding = text.len() - unpadded.len();
    if text.len() % 4 != 0 || padding > 2 {
        return None;
    }
    let mut bytes = Vec::new();
    for quad in unpadded.as_bytes().chunks(4) {
        let digits = quad.iter().map(|c| ALPHABET.find(char::from(*c))).collect::<Option<Vec<_>>>()?;
        let number = (0..4).fold(0, |number, at| number * 64 + digits.get(at).unwrap_or(&0));
        bytes.extend([number >> 16, number >> 8, number].map(|byte| (byte % 256) as u8));
    }
    // What stands in the place of the padding, unused bits among it, is 0.
    let unused = bytes.split_off(bytes.len() - padding);
    unused.iter().all(|byte| *byte == 0).then_some(bytes)
}

/// Whether this is an ADDRESS.
pub fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_port = (1..=65_535u32).contains(&number(port).unwrap_or(0));
    let is_host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(is_ipv6),
        None => is_ipv4(host) || is_name(host),
    };
    text.len() <= 255 && is_port && is_host
}

/// A number in its one form, of at most five digits.
fn number(text: &str) -> Option<u32> {
    let number = text
        .chars()
        .try_fold(0u32, |number, c| Some(number * 10 + c.to_digit(10)?).filter(|n| *n < 100_000))?;
    (number.to_string() == text).then_some(number)
}

fn is_ipv4(host: &str) -> bool {
    let parts: Vec<Option<u32>> = host.split('.').map(number).collect();
    parts.len() == 4 && parts.iter().all(|part| part.is_some_and(|part| part < 256))
}

fn is_name(host: &str) -> bool {
    let is_plain = |c: char| "abcdefghijklmnopqrstuvwxyz0123456789-".contains(c);
    let is_part = |part: &str| !part.is_empty() && part.len() < 64 && part.chars().all(is_plain);
    let last = host.split('.').next_back().unwrap_or("");
    let hexadecimal = last.strip_prefix("0x").is_some_and(|rest| rest.chars().all(|c| c.is_ascii_hexdigit()));
    let is_number = hexadecimal || last.chars().all(|c| c.is_ascii_digit());
    host.len() < 254 && host.split('.').all(is_part) && !is_number
}

/// Whether this is an IPv6 address as RFC 5952 writes it.
fn is_ipv6(text: &str) -> bool {
    groups(text).is_some_and(|groups| written(&groups) == text)
}

/// The groups of an address in hexadecimal, or in the form of an address that has an IPv4 one in it.
fn groups(text: &str) -> Option<Vec<u16>> {
    if let Some(inner) = text.strip_prefix("::ffff:").filter(|inner| is_ipv4(inner)) {
        let bytes: Vec<u16> = inner.split('.').filter_map(|part| part.parse().ok()).collect();
        return Some(vec![0, 0, 0, 0, 0, 0xffff, bytes[0] << 8 | bytes[1], bytes[2] << 8 | bytes[3]]);
    }
    let half = |half: &str| -> Option<Vec<u16>> {
        let group = |group: &str| u16::from_str_radix(group, 16).ok().filter(|_| !group.starts_with('+'));
        if half.is_empty() { Some(Vec::new()) } else { half.split(':').map(group).collect() }
    };
    match text.split_once("::") {
        None => half(text).filter(|groups| groups.len() == 8),
        Some((front, back)) => {
            let (front, back) = (half(front)?, half(back)?);
            let zeros = 8usize.checked_sub(front.len() + back.len())?;
            Some([front, vec![0; zeros], back].concat())
        }
    }
}

fn written(groups: &[u16]) -> String {
    if groups[..6] == [0, 0, 0, 0, 0, 0xffff] {
        let bytes: Vec<String> =
            groups[6..].iter().flat_map(|g| [g >> 8, g & 255]).map(|b| b.to_string()).collect();
        return format!("::ffff:{}", bytes.join("."));
    }
    let plain =
        |groups: &[u16]| groups.iter().map(|group| format!("{group:x}")).collect::<Vec<_>>().join(":");
    // The longest run first, and of equal runs the first.
    for len in (2..=8).rev() {
        for start in 0..=8 - len {
            if groups[start..start + len].iter().all(|group| *group == 0) {
                return format!("{}::{}", plain(&groups[..start]), plain(&groups[start + len..]));
            }
        }
    }
    plain(groups)
}

/// The verdict on a message.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    Refused,
    PassedOver,
    Read,
}

/// Whether a message of this kind may have so many bytes, for all that its header shows.
pub fn is_length(kind: u8, len: u64, pieces: u64) -> bool {
    let (least, most) = match kind {
        1 => (4, 4 + 4 * 256),
        2 => (0, 12 * (32 + 256)),
        3 => (8, 8 + 32 * 65_536),
        4 | 8 | 9 | 17 | 19 => (0, 0),
        5 => ((pieces + 7) / 8, (pieces + 7) / 8),
        6 => (4, 4 * 1024),
        7 => (0, 4),
        12 => (1, 1),
        16 => (17, 49),
        18 => (4, 4),
        20 => (1, 131_072),
        _ => (0, 65_536),
    };
    least <= len && len <= most
}

/// Judges the content of a message of `len` bytes.
pub fn message(kind: u8, len: u64, content: &[u8], pieces: u64) -> Verdict {
    if !is_length(kind, len, pieces) || content.len() as u64 != len {
        return Verdict::Refused;
    }
    let is_piece = |bytes: &[u8]| bytes.len() == 4 && little(bytes) < u128::from(pieces);
    let is_good = match kind {
        1 => content[0] < 4 && content[3] < 5 && addresses(&content[4..], 0) == Some(content[3].into()),
        2 => addresses(content, 32).is_some_and(|count| count <= 12),
        3 => {
            let keys: Vec<&[u8]> = content[8..].chunks(32).collect();
            keys.iter().all(|key| key.len() == 32) && keys.windows(2).all(|pair| pair[0] < pair[1])
        }
        5 => {
            (0..8 * content.len()).all(|bit| (bit as u64) < pieces || content[bit / 8] >> (bit % 8) & 1 == 0)
        }
        6 => content.chunks(4).all(is_piece),
        7 => content.is_empty() || is_piece(content),
        12 => content[0] < 2,
        16 => {
            let root = if content[0] == 4 { 32 } else { 0 };
            let range = content.get(1 + root..).filter(|range| range.len() == 16);
            let (start, count) = range.map_or((0, 0), |range| (little(&range[..8]), little(&range[8..])));
            let is_range = count > 0 && start + count < 1 << 64;
            content[0] < 5 && is_range && (content[0] > 0 || (start, count) == (0, 1))
        }
        4 | 8 | 9 | 17 | 18 | 19 | 20 => true,
        _ => return Verdict::PassedOver,
    };
    if is_good { Verdict::Read } else { Verdict::Refused }
}

fn little(bytes: &[u8]) -> u128 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

/// The number of addresses, each behind `skip` bytes and its length; `None` if they are not all that there is.
fn addresses(bytes: &[u8], skip: usize) -> Option<usize> {
    if bytes.is_empty() {
        return Some(0);
    }
    let (len, rest) = bytes.get(skip..)?.split_first()?;
    let (address, rest) = rest.split_at_checked(usize::from(*len))?;
    std::str::from_utf8(address).ok().filter(|address| is_address(address))?;
    Some(1 + addresses(rest, skip)?)
}
