//! What the operator gave: properties from a file, the environment and the command line, each over the one before. Knows no key's meaning.

use super::properties;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value comes from, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file.
    File {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// An environment variable of this name.
    Environment(String),
    /// `-o key=value`
    Option,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Option => f.write_str("option -o"),
        }
    }
}

/// All properties given, by key.
#[derive(Clone, Debug, Default)]
pub struct Given {
    entries: BTreeMap<String, (String, Origin)>,
}

impl Given {
    /// Puts the entries of `path` over what is there.
    ///
    /// # Errors
    /// One line: the file cannot be read, or where its syntax is wrong.
    pub fn file(&mut self, path: &Path) -> Result<(), String> {
        let bytes = std::fs::read(path).map_err(|e| {
            format!("cannot read {}: {e}; without a FILE `klamm serve` starts a node with its data in ./klamm-data", path.display())
        })?;
        // Java reads Latin-1; a file in UTF-8 is what people write.
        let text = String::from_utf8(bytes).unwrap_or_else(|e| e.into_bytes().into_iter().map(char::from).collect());
        let entries = properties::parse(&text).map_err(|line| {
            format!("{}:{line}: `\\u` wants four hexadecimal digits behind it; write `\\\\u` for a backslash", path.display())
        })?;
        for entry in entries {
            self.put(entry.key, entry.value, Origin::File { path: path.to_owned(), line: entry.line });
        }
        Ok(())
    }

    /// Puts `KLAMM_…` variables over what is there: `KLAMM_LOG_DIRS` is `log.dirs`. Returns those that name no key, of which `known` decides.
    pub fn environment(&mut self, variables: impl IntoIterator<Item = (String, String)>, known: impl Fn(&str) -> bool) -> Vec<String> {
        let mut unknown = Vec::new();
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix("KLAMM_") else { continue };
            let key = rest.to_ascii_lowercase().replace('_', ".");
            if known(&key) {
                self.put(key, value.trim().to_owned(), Origin::Environment(name));
            } else {
                unknown.push(name);
            }
        }
        unknown.sort();
        unknown
    }

    /// Puts `key=value` over what is there.
    ///
    /// # Errors
    /// One line, if there is no `=`.
    pub fn option(&mut self, text: &str) -> Result<(), String> {
        let (key, value) = text.split_once('=').ok_or_else(|| format!("`-o {text}` has no `=`: write `-o {text}=VALUE`"))?;
        self.put(key.trim().to_owned(), value.trim().to_owned(), Origin::Option);
        Ok(())
    }

    /// Gives `key` a value unless the operator did.
    pub fn fallback(&mut self, key: &str, value: String) {
        if !self.entries.contains_key(key) {
            self.put(key.to_owned(), value, Origin::Option);
        }
    }

    /// The value of `key`, if one was given.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.get(key).map(|(value, _)| value.as_str())
    }

    /// `key=value` and where it comes from, for messages.
    #[must_use]
    pub fn cite(&self, key: &str) -> String {
        match self.entries.get(key) {
            Some((value, origin)) => format!("`{key}={value}` ({origin})"),
            None => format!("`{key}`"),
        }
    }

    /// Every key and value, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(key, (value, _))| (key.as_str(), value.as_str()))
    }

    fn put(&mut self, key: String, value: String, origin: Origin) {
        self.entries.insert(key, (value, origin));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_beats_the_environment_beats_the_file() {
        let path = std::env::temp_dir().join(format!("klamm-given-{}.properties", std::process::id()));
        std::fs::write(&path, "a.b=file\nc=file\nd=file\n").expect("a temporary file");
        let mut given = Given::default();
        given.file(&path).expect("a good file");
        std::fs::remove_file(&path).expect("just written");
        let variables =
            [("KLAMM_A_B", "env"), ("KLAMM_C", "env"), ("KLAMM_NOPE", "1"), ("HOME", "/")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let unknown = given.environment(variables, |key| key != "nope");
        given.option("c = option").expect("an equals sign");
        assert_eq!(unknown, ["KLAMM_NOPE"]);
        assert_eq!(given.iter().collect::<Vec<_>>(), [("a.b", "env"), ("c", "option"), ("d", "file")]);
        assert!(given.cite("d").ends_with(".properties:3)"), "{}", given.cite("d"));
        assert!(given.option("x").is_err());
    }
}
