//! Names of files that downloads and operating systems leave in folders, by the table of `spec/model-folder.md`.

use std::collections::BTreeSet;

use weighbridge_manifest::EntryPath;

use crate::refusal::{Refusal, RefusalFault};

/// Returns the leftovers among these paths, and the files beside them, naming each folder once. `paths` must be
/// sorted.
pub(crate) fn among<'p>(paths: impl Iterator<Item = &'p EntryPath> + Clone) -> Vec<Refusal> {
    let mut refused = Vec::new();
    let mut told = BTreeSet::new();
    let places: BTreeSet<&str> = paths.clone().flat_map(|path| places(path.as_str())).collect();
    for path in paths.map(EntryPath::as_str) {
        let Some((place, leftover)) = leftover_at(path) else { continue };
        if told.insert(place) {
            refused.push(Refusal { place: place.to_owned(), fault: leftover.fault() });
        }
        if let Some(whole) =
            leftover.whole(place).filter(|whole| places.contains(whole) && told.insert(whole))
        {
            let fault = RefusalFault::BesideUnfinished { leftover: place.to_owned() };
            refused.push(Refusal { place: whole.to_owned(), fault });
        }
    }
    refused
}

/// The folders above a path, and the path itself.
fn places(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.match_indices('/').map(|(end, _)| end).chain([path.len()]).filter_map(|end| path.get(..end))
}

/// Returns the leftover that a path is, or that it lies in.
fn leftover_at(path: &str) -> Option<(&str, &'static Leftover)> {
    places(path).find_map(|place| {
        let name = place.rsplit('/').next()?;
        let is_file = place.len() == path.len();
        let leftover = LEFTOVERS.iter().find(|leftover| leftover.matches(name, is_file))?;
        Some((place, leftover))
    })
}

struct Leftover {
    /// A name; a `*` at its beginning or end stands for any characters.
    name: &'static str,
    of: Of,
    by: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Download,
    System,
}

impl Leftover {
    fn matches(&self, name: &str, is_file: bool) -> bool {
        let cut = |at: usize| name.split_at_checked(at).unwrap_or((name, ""));
        match (self.ending(), self.name.strip_suffix('*')) {
            (Some(ending), _) => {
                let (stem, end) = cut(name.len().saturating_sub(ending.len()));
                is_file && !stem.is_empty() && end.eq_ignore_ascii_case(ending)
            }
            (_, Some(beginning)) => cut(beginning.len()).0.eq_ignore_ascii_case(beginning),
            _ => name.eq_ignore_ascii_case(self.name),
        }
    }

    fn ending(&self) -> Option<&'static str> {
        self.name.strip_prefix('*')
    }

    /// The path of the file whose download left this leftover.
    fn whole<'p>(&self, place: &'p str) -> Option<&'p str> {
        self.ending().and_then(|ending| place.get(..place.len().checked_sub(ending.len())?))
    }

    fn fault(&self) -> RefusalFault {
        match self.of {
            Of::Download => RefusalFault::Unfinished { by: self.by },
            Of::System => RefusalFault::OfASystem { by: self.by },
        }
    }
}

const fn download(name: &'static str, by: &'static str) -> Leftover {
    Leftover { name, of: Of::Download, by }
}

const fn system(name: &'static str, by: &'static str) -> Leftover {
    Leftover { name, of: Of::System, by }
}

/// Only names that no other files have. Leftovers of `wget` and `curl`, and rsync's temporary files, cannot be told
/// by name.
const LEFTOVERS: [Leftover; 30] = [
    download("*.aria2", "aria2"),
    download("*.aria2__temp", "aria2"),
    download("*.crdownload", "a browser"),
    download("*.opdownload", "a browser"),
    download("*.part", "a browser, yt-dlp"),
    download("*.partial", "a browser, rclone"),
    download("*.incomplete", "huggingface_hub"),
    download("*.filepart", "WinSCP"),
    download("*_.gstmp", "gsutil"),
    download("*.lftp-pget-status", "lftp"),
    download(".azDownload-*", "AzCopy"),
    download("*.!qB", "qBittorrent"),
    download("*.!ut", "µTorrent"),
    download(".~tmp~", "rsync"),
    download(".rsync-partial", "rsync"),
    system(".DS_Store", "macOS"),
    system("._*", "macOS"),
    system("__MACOSX", "macOS"),
    system(".Spotlight-V100", "macOS"),
    system(".Trashes", "macOS"),
    system(".fseventsd", "macOS"),
    system("Thumbs.db", "Windows"),
    system("desktop.ini", "Windows"),
    system("System Volume Information", "Windows"),
    system("$RECYCLE.BIN", "Windows"),
    system("lost+found", "Linux"),
    system(".Trash-*", "Linux"),
    system(".nfs0*", "NFS"),
    system(".fuse_hidden*", "FUSE"),
    system("@eaDir", "Synology"),
];

#[cfg(test)]
mod tests {
    use weighbridge_tree::Coded as _;

    use super::*;

    fn told(paths: &[&str]) -> Vec<(String, u16)> {
        let mut paths: Vec<EntryPath> = paths.iter().map(|path| EntryPath::parse(path).unwrap()).collect();
        paths.sort();
        among(paths.iter()).into_iter().map(|r| (r.place, r.fault.error_code().get())).collect()
    }

    #[test]
    fn the_table_is_that_of_the_specification() {
        let page = include_str!("../../../spec/model-folder.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| 510")?.split_once(" | "));
        let names = rows.flat_map(|(code, row)| {
            let cell = row.split(" | ").next().unwrap_or_default();
            cell.split(", ").map(move |name| (format!("510{code}"), name.trim_matches('`').to_owned()))
        });
        let specified: BTreeSet<_> = names.collect();
        let ours =
            LEFTOVERS.iter().map(|l| (l.fault().error_code().to_string(), l.name.to_owned())).collect();
        assert_eq!(specified, ours);
    }

    #[test]
    fn names_that_only_look_like_leftovers_are_taken() {
        let fine = [
            "a.part1",
            "part",
            ".part",
            "a.partials",
            "x.part/y",
            "x.aria2/y",
            "incomplete",
            "DS_Store",
            ".gitignore",
            ".hidden",
            ".nfs",
            ".trash",
            "lost",
            "my lost+found",
            "thumbs.db.txt",
            "ü.par",
            "µ",
        ];
        assert_eq!(told(&fine), []);
    }

    #[test]
    fn each_leftover_is_told_in_any_case_and_each_folder_once() {
        let all = ["Desktop.INI", "a/._x", "a/b.PART", "lost+found/#1", "lost+found/#2", "x/.~tmp~/m/n"];
        let places = ["Desktop.INI", "a/._x", "a/b.PART", "lost+found", "x/.~tmp~"];
        let codes = [5107, 5107, 5106, 5107, 5106];
        let expected: Vec<_> = places.map(str::to_owned).into_iter().zip(codes).collect();
        assert_eq!(told(&all), expected);
    }

    #[test]
    fn what_lies_beside_the_leftover_of_its_download_is_told_too() {
        let expected =
            |places: &[&str]| -> Vec<_> { places.iter().map(|p| ((*p).to_owned(), 5106)).collect() };
        assert_eq!(told(&["a", "m", "m.aria2"]), expected(&["m.aria2", "m"]));
        assert_eq!(told(&["m.aria2", "m/a", "m/b"]), expected(&["m.aria2", "m"]));
        assert_eq!(told(&["a/m.aria2", "m"]), expected(&["a/m.aria2"]));
        assert_eq!(told(&["m", "m.aria2", "m.part"]), expected(&["m.aria2", "m", "m.part"]));
    }
}
