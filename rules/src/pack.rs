//! The rule pack that is part of the program.

macro_rules! pack {
    ($($file:literal),* $(,)?) => {
        &[$(($file, include_str!(concat!("../packs/first_light/", $file)))),*]
    };
}

const FIRST_LIGHT: &[(&str, &str)] = pack![];

/// File name and text of every rule of the pack.
pub(crate) fn documents() -> Vec<(String, String)> {
    FIRST_LIGHT.iter().map(|(file, text)| (format!("first_light/{file}"), (*text).to_owned())).collect()
}
