//! Rows and columns for a terminal, and for a page.

use comfy_table::{CellAlignment, ContentArrangement, Table as Text, presets};

/// Rows a table keeps; a screenful is 50, a pager's patience perhaps 1,000. What comes after is counted and
/// told in a last line.
pub const ROWS_MAX: usize = 1_000;

/// Where a column's text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Names and sentences.
    Left,
    /// Numbers, so that their digits stand below one another.
    Right,
}

/// A table being filled.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
    left_out: usize,
}

impl Table {
    /// An empty table with these headings.
    #[must_use]
    pub fn new(columns: &[(&str, Align)]) -> Self {
        let columns = columns.iter().map(|(name, align)| ((*name).to_owned(), *align)).collect();
        Table { columns, rows: Vec::new(), left_out: 0 }
    }

    /// Adds a row. Missing cells are empty, more than there are columns are left out, and so are rows past
    /// [`ROWS_MAX`].
    pub fn row<I, T>(&mut self, cells: I)
    where
        I: IntoIterator<Item = T>,
        T: Into<String>,
    {
        if self.rows.len() >= ROWS_MAX {
            self.left_out += 1;
            return;
        }
        let mut row: Vec<String> = cells.into_iter().take(self.columns.len()).map(Into::into).collect();
        row.resize(self.columns.len(), String::new());
        self.rows.push(row);
    }

    /// Whether no row was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text without frames, two blanks between columns, a newline at the end of each line.
    /// Control characters are shown as U+FFFD: no text can drive the reader's terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut table = Text::new();
        table.load_style(presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(self.columns.iter().map(|(name, _)| plain(name)));
        for row in &self.rows {
            table.add_row(row.iter().map(|cell| plain(cell)));
        }
        for (index, (_, align)) in self.columns.iter().enumerate() {
            if let Some(column) = table.column_mut(index) {
                column.set_padding((0, 2));
                column.set_cell_alignment(match align {
                    Align::Left => CellAlignment::Left,
                    Align::Right => CellAlignment::Right,
                });
            }
        }
        let mut text = String::new();
        for line in table.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        if self.left_out > 0 {
            text.push_str(&format!("and {} more rows\n", self.left_out));
        }
        text
    }

    /// The table as HTML, for a page.
    pub(crate) fn html(&self, out: &mut String) {
        out.push_str("<div class=\"wide\"><table><thead><tr>");
        for (name, align) in &self.columns {
            cell(out, "th", *align, name);
        }
        out.push_str("</tr></thead><tbody>");
        for row in &self.rows {
            out.push_str("<tr>");
            for (text, (_, align)) in row.iter().zip(&self.columns) {
                cell(out, "td", *align, text);
            }
            out.push_str("</tr>");
        }
        out.push_str("</tbody></table></div>\n");
        if self.left_out > 0 {
            out.push_str(&format!("<p>and {} more rows</p>\n", self.left_out));
        }
    }
}

fn cell(out: &mut String, tag: &str, align: Align, text: &str) {
    let class = if align == Align::Right { " class=\"n\"" } else { "" };
    out.push_str(&format!("<{tag}{class}>"));
    crate::escape::push(out, text);
    out.push_str(&format!("</{tag}>"));
}

fn plain(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::{Align, ROWS_MAX, Table};

    fn table() -> Table {
        Table::new(&[("what", Align::Left), ("p50", Align::Right)])
    }

    #[test]
    fn numbers_stand_to_the_right_and_names_to_the_left() {
        let mut table = table();
        table.row(["TTFT", "1.2 s"]);
        table.row(["end to end", "12.5 s"]);
        assert_eq!(table.text(), "what           p50\nTTFT         1.2 s\nend to end  12.5 s\n");
    }

    #[test]
    fn a_row_past_the_limit_is_counted() {
        let mut table = table();
        for _ in 0..ROWS_MAX + 3 {
            table.row(["a", "b"]);
        }
        assert!(table.text().ends_with("and 3 more rows\n"));
    }

    #[test]
    fn a_cell_cannot_drive_the_terminal_or_write_markup() {
        let mut table = table();
        table.row(["\u{1b}[2J<b>", "1"]);
        assert!(!table.text().contains('\u{1b}'));
        let mut html = String::new();
        table.html(&mut html);
        assert!(!html.contains("<b>"));
    }
}
