//! The model that is wanted, as far as sources of a hub name it.

use weighbridge_manifest::ModelName;

use crate::failure::Failure;

/// The name that the sources of a hub give the model. `None` if there are none of these, or if a hub's name is not one that
/// a head can have.
///
/// # Errors
/// [`Failure`] if two sources are of different models.
pub(crate) fn wanted(sources: &[String]) -> Result<Option<ModelName>, Failure> {
    let mut names: Vec<&str> = sources.iter().filter_map(|source| repository(source)).collect();
    names.sort_unstable();
    names.dedup();
    match names.as_slice() {
        [] => Ok(None),
        [name] => Ok(ModelName::parse(name).ok()),
        [one, other, ..] => {
            let (one, other) = (weighbridge_manifest::shown(one), weighbridge_manifest::shown(other));
            Err(Failure::usage(format!("the sources are of two models: {one} and {other}"))
                .hint("name the wanted one with --name ORG/MODEL"))
        }
    }
}

/// The repository of a source `hf://ORG/NAME@REVISION`.
fn repository(source: &str) -> Option<&str> {
    let (scheme, rest) = source.split_once("://")?;
    let (repository, _) = rest.split_once('@').unwrap_or((rest, ""));
    scheme.eq_ignore_ascii_case("hf").then_some(repository)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name, none as an empty text; or the message of the refusal.
    fn of(sources: &[&str]) -> Result<String, String> {
        let sources: Vec<String> = sources.iter().map(|source| (*source).to_owned()).collect();
        let name = wanted(&sources).map_err(|failure| failure.message)?;
        Ok(name.map_or(String::new(), |name| name.to_string()))
    }

    #[test]
    fn sources_of_a_hub_name_the_model_if_they_agree() {
        for (sources, name) in [
            (&["hf://org/model"][..], "org/model"),
            (&["HF://org/model@v1.0"], "org/model"),
            (&["hf://bert"], "bert"),
            (
                &["hf://org/model", "hf://org/model@refs/pr/1", "https://x.example/other", "folder"],
                "org/model",
            ),
            (&["https://x.example/org/model", "org/model", "s3://org/model"], ""),
            (&["hf://org/.hidden"], ""),
            (&["hf://"], ""),
        ] {
            assert_eq!(of(sources).as_deref(), Ok(name), "{sources:?}");
        }
        let two = of(&["hf://org/model", "folder", "hf://org/other@main"]);
        assert_eq!(two, Err("the sources are of two models: org/model and org/other".to_owned()));
    }
}
