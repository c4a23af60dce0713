//! Tables, SVG charts and HTML reports: bytes out.
//!
//! - [`table::Table`]: rows for a terminal.
//! - [`chart::Chart`]: lines, steps and areas over linear or logarithmic axes, as an SVG that follows the
//!   reader's light or dark setting by itself.
//! - [`page::Page`]: one HTML file of headings, facts, tables and charts that needs no network.
//! - [`number`]: how numbers are written, the same everywhere.
//!
//! Any text goes in; [`escape`] sees to it that none of it comes out as markup.
#![forbid(unsafe_code)]

pub mod chart;
pub mod escape;
pub mod number;
pub mod page;
pub mod table;
