//! The report as a page: one file that needs nothing from outside.

use super::sheet::Sheet;

const FRAME: &str = include_str!("page/frame.html");
const LOOKS: &str = include_str!("page/looks.css");
/// In the order in which they need each other.
const DRAWS: [&str; 4] =
    [include_str!("page/view.js"), include_str!("page/chart.js"), include_str!("page/point.js"), include_str!("page/main.js")];

/// The whole page.
#[must_use]
pub fn page(sheet: &Sheet) -> String {
    let data = serde_json::to_string(sheet).expect("plain data has a JSON form");
    // What is put in is put in last: no text of a run is taken for a place of the frame.
    let (before, behind) = FRAME.split_once("/*DATA*/").expect("the frame has a place for the data");
    let title = format!("seed {}", sheet.seed);
    let before = before.replace("/*LOOKS*/", LOOKS).replace("/*TITLE*/", &title);
    format!("{before}{}{}", safe(&data), behind.replace("/*DRAWS*/", &DRAWS.concat()))
}

/// JSON that may stand in a script element: nothing in it ends the element, or begins a comment.
fn safe(json: &str) -> String {
    json.replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::safe;

    #[test]
    fn no_text_of_a_run_ends_the_script() {
        let json = serde_json::to_string("a </script> b <!-- c").expect("a string");
        let safe = safe(&json);
        assert!(!safe.contains('<'));
        assert_eq!(serde_json::from_str::<String>(&safe).expect("still JSON"), "a </script> b <!-- c");
    }
}
