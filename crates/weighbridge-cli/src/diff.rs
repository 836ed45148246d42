//! `diff`: compares two models by their lists, without their weights.

use std::path::Path;

use weighbridge_manifest::{
    Class, Comparison, Difference, Expectation, FileEntry, SignedHead, Tally, TensorEntry, TrustPolicy,
    VerifiedFileList, VerifiedHead, VerifiedTensorList, bytes_in_old, compare_files, compare_tensors, shown,
};

use crate::{
    args::Diff,
    events::{
        Event,
        diff::{self, Classes, Entries, Side},
        values::Always,
    },
    failure::Failure,
    output::{List, Output, shown_names, size},
    trust,
};

pub(crate) fn run(args: &Diff, output: &Output) -> Result<(), Failure> {
    let policy = args.trust.policy()?;
    let old = Model::open(&args.old, policy.as_ref())?;
    let new = Model::open(&args.new, policy.as_ref())?;
    old.print(Side::Old, output);
    new.print(Side::New, output);
    let files = compare_files(&old.files, &new.files);
    let tensors = old.tensors.as_ref().zip(new.tensors.as_ref());
    let tensors = tensors.map(|(old, new)| compare_tensors(old, new));
    summary(Entries::Files, Some(&files), &[], output);
    let unlisted =
        [(Side::Old, &old), (Side::New, &new)].into_iter().filter(|(_, model)| model.tensors.is_none());
    summary(Entries::Tensors, tensors.as_ref(), &unlisted.map(|(side, _)| side).collect::<Vec<_>>(), output);
    let list = List::new(output, different(&files.differences), "file");
    for difference in &files.differences {
        file(difference, &list);
    }
    list.end();
    let of_tensors = tensors.as_ref().map_or(&[][..], |tensors| &tensors.differences);
    let list = List::new(output, different(of_tensors), "tensor");
    for difference in of_tensors {
        tensor(difference, &list);
    }
    list.end();
    let (bytes, in_old) = (new.files.bytes(), bytes_in_old(&files, tensors.as_ref()));
    let is_same = files.is_same() && tensors.as_ref().is_none_or(Comparison::is_same);
    let same = if is_same { "nothing differs; " } else { "" };
    let text = format!("result   {same}old has {} of new's {}", size(in_old), size(bytes));
    output.result(&text, || diff::Result { same: is_same, bytes, bytes_in_old: in_old });
    Ok(())
}

/// One of the two models.
struct Model {
    head: VerifiedHead,
    /// The names on the head's signatures: believed if there is a policy, otherwise claimed.
    signers: Vec<String>,
    believed: bool,
    files: VerifiedFileList,
    /// `None` if its head says `tensors none`.
    tensors: Option<VerifiedTensorList>,
}

impl Model {
    fn open(path: &Path, policy: Option<&TrustPolicy>) -> Result<Self, Failure> {
        // Messages with codes from 9000 on name the unreadable file themselves.
        let about = |failure: Failure| if failure.code.is_refusal() { failure.about(path) } else { failure };
        let metadata = trust::metadata(path);
        let note = metadata.note().map_err(|error| Failure::from(error).hint(WHAT_TO_NAME))?;
        let (head, signers) = believe(&note, policy).map_err(about)?;
        let files = metadata.files(&head).map_err(|error| about(error.into()))?;
        let tensors = metadata.tensors(&files).map_err(|error| about(error.into()))?;
        Ok(Self { head, signers, believed: policy.is_some(), files, tensors })
    }

    /// Prints the model's name and revision, and its signers.
    fn print(&self, side: Side, output: &Output) {
        let what = self.head.head();
        let by = match self.signers.as_slice() {
            _ if self.believed => trust::by(&self.head),
            [] => "signed by nobody".to_owned(),
            signers => format!("signed by {}", shown_names(signers)),
        };
        let claimed = if self.believed { "" } else { CLAIMED };
        let text = format!("{:<8} {} revision {}, {by}{claimed}", side.word(), what.name, what.revision);
        output.result(&text, || diff::Head {
            side,
            verified: self.believed,
            name: what.name.as_str(),
            revision: what.revision,
            head: self.head.id().into(),
            signers: &self.signers,
            imported: self.head.imported().map(Into::into),
        });
    }
}

const WHAT_TO_NAME: &str = "OLD and NEW are model folders that were weighed and signed, or their metadata: the folder that holds head.note";
const CLAIMED: &str = " (claimed: neither --trust nor --vkey was given)";

/// A head and its signers. Expired heads are accepted, since old models may be compared too.
fn believe(note: &[u8], policy: Option<&TrustPolicy>) -> Result<(VerifiedHead, Vec<String>), Failure> {
    let Some(policy) = policy else {
        let names = SignedHead::parse(note)?.key_ids().map(|(name, _)| name.as_str().to_owned()).collect();
        return Ok((trust::by_its_word(note)?, names));
    };
    let expected = Expectation::any().allow_expired();
    let head = SignedHead::parse(note)?.verify(policy, &expected, trust::now())?;
    let signers = head.signers().iter().map(|signer| signer.name.as_str().to_owned()).collect();
    Ok((head, signers))
}

/// Prints the number of entries in each class, for people as a table.
fn summary<E>(of: Entries, comparison: Option<&Comparison<'_, E>>, unlisted: &[Side], output: &Output) {
    let Some(Comparison { old, new, in_old, .. }) = comparison else {
        let sides: Vec<_> = unlisted.iter().map(|side| side.word()).collect();
        let text = format!("{} are not compared: not listed in {}", of.word(), sides.join(" and in "));
        output.result(&text, || diff::NotCompared { of, compared: Always, unlisted });
        return;
    };
    let of_old = |class| (class != Class::Added).then(|| old.of(class));
    let of_new = |class| (class != Class::Gone).then(|| new.of(class));
    let cell = |tally: Option<Tally>| match tally {
        Some(Tally { entries, bytes }) => format!("{entries:>9} {:>12}", size(bytes)),
        None => String::new(),
    };
    let row = |class: Class| {
        let text = format!("{:<8} {:<22}{}", class.word(), cell(of_old(class)), cell(of_new(class)));
        text.trim_end().to_owned()
    };
    let header = format!("{:<8} {:>22}{:>22}", of.word(), "old", "new");
    let table = [header].into_iter().chain(Class::ALL.map(row)).collect::<Vec<_>>().join("\n");
    output.result(&table, || diff::Summary {
        of,
        compared: Always,
        old: Classes::of(Side::Old, old),
        new: Classes::of(Side::New, new),
        bytes_in_old: in_old.bytes,
    });
}

/// The number of differences that people see one by one.
fn different<E>(differences: &[Difference<'_, E>]) -> usize {
    differences.iter().filter(|difference| difference.class != Class::Same).count()
}

fn file(difference: &Difference<'_, FileEntry>, list: &List<'_>) {
    let name = |file: &FileEntry| shown(file.path.as_str());
    let print = Print { kind: "file", size: |file: &FileEntry| file.size, list };
    print.difference::<_, diff::FileEntry<'_>, 1>(difference, [&name]);
}

fn tensor(difference: &Difference<'_, TensorEntry>, list: &List<'_>) {
    let name = |tensor: &TensorEntry| shown(&format!("{}:{}", tensor.file.as_str(), tensor.name.as_str()));
    let form = |tensor: &TensorEntry| {
        let dimensions: Vec<String> = tensor.shape.iter().map(u64::to_string).collect();
        format!("{} [{}]", tensor.dtype, dimensions.join(","))
    };
    let print = Print { kind: "tensor", size: |tensor: &TensorEntry| tensor.size, list };
    print.difference::<_, diff::TensorEntry<'_>, 2>(difference, [&name, &form]);
}

/// The way to print the differences of one kind.
struct Print<'a, S> {
    /// The word for an entry.
    kind: &'static str,
    size: S,
    list: &'a List<'a>,
}

impl<S> Print<'_, S> {
    /// Prints a difference: for people column by column, and only if the entries differ; for programs each entry as
    /// `V`.
    fn difference<'e, E, V, const N: usize>(
        &self,
        Difference { class, old, new, in_old }: &Difference<'e, E>,
        columns: [&dyn Fn(&E) -> String; N],
    ) where
        S: Fn(&E) -> u64,
        V: From<&'e E>,
        diff::Difference<V>: Event,
    {
        let event = || diff::Difference::<V> {
            class: class.word(),
            old: old.map(V::from),
            new: new.map(V::from),
            in_old: new.map(|_| *in_old),
        };
        if *class == Class::Same {
            self.list.good(class.word(), "", event);
            return;
        }
        let became = |column: &dyn Fn(&E) -> String| match (old.map(column), new.map(column)) {
            (Some(old), Some(new)) if old != new => format!("{old} -> {new}"),
            (old, new) => old.or(new).unwrap_or_default(),
        };
        let columns = columns.map(became).join("  ");
        let bytes = became(&|entry| size((self.size)(entry)));
        // A moved entry has its bytes in the old model anyway.
        let has_bytes = *class != Class::Moved && *in_old && new.is_some_and(|new| (self.size)(new) > 0);
        let note = if has_bytes { "  (old has these bytes)" } else { "" };
        let text = format!("{:<8} {:<6} {columns}  {bytes}{note}", class.word(), self.kind);
        self.list.line(class.word(), &text, event);
    }
}
