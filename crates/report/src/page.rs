//! One HTML file: works offline, on a phone, in light and dark.

use crate::chart::Chart;
use crate::escape::{escaped, push};
use crate::table::Table;

/// A figure with its name, and a line that says more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fact {
    /// What it is.
    pub name: &'static str,
    /// The figure, short.
    pub value: String,
    /// What else there is to say, or nothing.
    pub note: String,
}

impl Fact {
    /// A figure with nothing more to say.
    #[must_use]
    pub fn new(name: &'static str, value: impl ToString) -> Fact {
        Fact { name, value: value.to_string(), note: String::new() }
    }

    /// The same with a note.
    #[must_use]
    pub fn noted(mut self, note: impl ToString) -> Fact {
        self.note = note.to_string();
        self
    }
}

/// A page being written, from top to bottom.
#[derive(Clone, Debug)]
pub struct Page {
    title: String,
    body: String,
}

impl Page {
    /// A page with its title, and a line below it that says what was looked at.
    #[must_use]
    pub fn new(title: &str, subtitle: &str) -> Self {
        let body = format!("<h1>{}</h1>\n<p class=\"sub\">{}</p>\n", escaped(title), escaped(subtitle));
        Page { title: title.to_owned(), body }
    }

    /// A heading over what follows.
    pub fn heading(&mut self, text: &str) {
        self.body.push_str(&format!("<h2>{}</h2>\n", escaped(text)));
    }

    /// A paragraph.
    pub fn paragraph(&mut self, text: &str) {
        self.body.push_str(&format!("<p>{}</p>\n", escaped(text)));
    }

    /// The figures a reader looks for first, as tiles.
    pub fn facts(&mut self, facts: &[Fact]) {
        self.body.push_str("<dl class=\"facts\">");
        for fact in facts {
            self.body.push_str("<div><dt>");
            push(&mut self.body, fact.name);
            self.body.push_str("</dt><dd>");
            push(&mut self.body, &fact.value);
            self.body.push_str("</dd>");
            if !fact.note.is_empty() {
                self.body.push_str("<dd class=\"note\">");
                push(&mut self.body, &fact.note);
                self.body.push_str("</dd>");
            }
            self.body.push_str("</div>");
        }
        self.body.push_str("</dl>\n");
    }

    /// A table; it scrolls by itself where the screen is narrow.
    pub fn table(&mut self, table: &Table) {
        table.html(&mut self.body);
    }

    /// Charts, each with its title as the caption: two beside one another where there is room.
    pub fn charts(&mut self, charts: &[Chart]) {
        self.body.push_str("<div class=\"charts\">\n");
        for chart in charts {
            self.body.push_str("<figure><figcaption>");
            push(&mut self.body, chart.title());
            self.body.push_str("</figcaption>");
            self.body.push_str(&chart.svg());
            self.body.push_str("</figure>\n");
        }
        self.body.push_str("</div>\n");
    }

    /// The whole document.
    #[must_use]
    pub fn html(&self) -> String {
        let title = escaped(&self.title);
        let body = &self.body;
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
        )
    }
}

const STYLE: &str = include_str!("page.css");

#[cfg(test)]
mod tests {
    use super::{Fact, Page};
    use crate::chart::{Axis, Chart, Series, Unit};
    use crate::table::{Align, Table};

    fn page() -> String {
        let mut page = Page::new("A <title>", "of \"it\"");
        page.heading("One & two");
        page.paragraph("</main><script>alert(1)</script>");
        page.facts(&[Fact::new("requests", 12), Fact::new("<dt>", "<dd>").noted("<dd>")]);
        let mut table = Table::new(&[("name", Align::Left)]);
        table.row(["<td>"]);
        page.table(&table);
        let axis = || Axis::new("<axis>", Unit::Count);
        page.charts(&[Chart::new("chart <t>", axis(), axis()).with(Series::line("<s>", vec![(0.0, 1.0)]))]);
        page.html()
    }

    #[test]
    fn nothing_a_caller_says_becomes_markup() {
        let html = page();
        for markup in ["<title>\"", "<script", "<dt><", "<dd><", "<td><t", "<axis", "<s>"] {
            assert!(!html.contains(markup), "{markup}");
        }
        assert!(html.contains("&lt;script&gt;"));
    }

    #[test]
    fn the_page_asks_nothing_of_a_network() {
        let html = page();
        for fetch in ["http://", "https://", "src=", "@import", "url("] {
            // The namespace of an SVG is a name, not an address that is asked.
            assert!(!html.replace("http://www.w3.org/2000/svg", "").contains(fetch), "{fetch}");
        }
    }

    #[test]
    fn the_page_follows_the_screen_and_the_light() {
        let html = page();
        assert!(html.contains("width=device-width") && html.contains("prefers-color-scheme: dark"));
    }
}
