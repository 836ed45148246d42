//! Reading back: what a bucket gives is judged as what any source gives, before the head calls it the model.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use object_store::{GetOptions, GetRange, ObjectStore as _};
use weighbridge_tree::ErrorCode;

use super::{Content, Object, Refusal, Sender, Trouble, object::draw};
use crate::{
    board::lock,
    push::{PushError, blocking, shown},
};

impl Sender<'_> {
    /// Reads units of objects back, of each at least one. An object that is wrong is sent once more.
    pub(super) async fn check(&self, objects: &[&Object]) -> Result<(), Trouble> {
        let mut objects = objects.to_vec();
        loop {
            let drawn = draw(&objects, MORE).map_err(Trouble::Ended)?;
            let wrong = self.read_back(&objects, drawn).await?;
            if wrong.is_empty() {
                return Ok(());
            }
            let mut anew = BTreeSet::new();
            for (number, unit, what) in wrong {
                let Some(object) = objects.get(number) else { continue };
                let mut state = object.state();
                if state.wrong.is_some() && anew.insert(number) {
                    let message = format!(
                        "{what}, also after it was sent again: chunk {unit} of {}",
                        shown(&object.name)
                    );
                    let code = Some(ErrorCode::CHUNK_MISMATCH.get());
                    return Err(Trouble::Ended(PushError::Refused { code, message }));
                }
                (state.stands, state.wrong) = (false, Some(unit));
                anew.insert(number);
            }
            objects = anew.into_iter().filter_map(|number| objects.get(number).copied()).collect();
            self.send(&objects).await?;
        }
    }

    /// Reads units back, and returns the wrong ones, each with what is wrong.
    async fn read_back(
        &self,
        objects: &[&Object],
        drawn: BTreeSet<(usize, u64)>,
    ) -> Result<Vec<(usize, u64, &'static str)>, Trouble> {
        let wrong = Mutex::new(Vec::new());
        let wrong_ones = &wrong;
        let judge = |(number, unit): (usize, u64)| async move {
            let Some(object) = objects.get(number) else { return Ok(None) };
            let (found, took) = self.judge(object, unit).await?;
            if let Some(what) = found {
                lock(wrong_ones).push((number, unit, what));
            }
            Ok(Some(took))
        };
        self.pace.all(drawn, judge).await?;
        Ok(wrong.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Says what is wrong with a unit of an object as the bucket gives it, and how long that took.
    async fn judge(&self, object: &Object, unit: u64) -> Result<(Option<&'static str>, Duration), Trouble> {
        self.board.at(&object.name);
        let (range, began) = (object.range(unit), Instant::now());
        if range.is_empty() {
            return Ok((self.has_wrong_size(object).await?, began.elapsed()));
        }
        let options = GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
        let answer = async {
            let answer = self.bucket.place.store.get_opts(&object.key, options).await?;
            let size = answer.meta.size;
            Ok((size, answer.bytes().await?))
        };
        let (size, bytes) = match self.bucket.answered(answer.await) {
            Ok(answer) => answer,
            Err(refusal) => {
                // The bucket may have less of it, and say so in one way or another.
                return match self.has_wrong_size(object).await {
                    Ok(Some(what)) => Ok((Some(what), began.elapsed())),
                    _ => Err(refusal.into()),
                };
            }
        };
        let took = began.elapsed();
        self.board.goes_on();
        if size != object.size {
            return Ok((Some(OTHER_SIZE), took));
        }
        let model = Arc::clone(self.model);
        let is_good = match &object.content {
            Content::File(position) => {
                let position = *position;
                blocking(move || Ok(model.verifier(position)?.accept(unit, &bytes).is_ok())).await
            }
            Content::Metadata(from) => {
                let from = from.clone();
                blocking(move || Ok(model.read_judged(&from, &range)? == bytes)).await
            }
        };
        let is_good: bool = is_good.map_err(Trouble::Ended)?;
        Ok(((!is_good).then_some(OTHER_BYTES), took))
    }

    async fn has_wrong_size(&self, object: &Object) -> Result<Option<&'static str>, Trouble> {
        match self.bucket.look(&object.key).await {
            Ok((size, _)) => Ok((size != object.size).then_some(OTHER_SIZE)),
            Err(Refusal::Missing(_)) => Ok(Some(GONE)),
            Err(refusal) => Err(refusal.into()),
        }
    }
}

/// The units that are read back beside one of each object.
const MORE: u64 = 64;

const OTHER_BYTES: &str = "gives other bytes than it was sent";
const OTHER_SIZE: &str = "has another length than it was sent";
const GONE: &str = "does not have what it has taken";
