//! A stretch of a trace, counted from its own beginning.

use tidegate_core::time::Span;

use super::{Error, TraceRequest};

/// The requests of a stretch.
#[derive(Debug)]
pub struct Stretch<I> {
    source: I,
    from: Span,
    until: Option<Span>,
    ended: bool,
}

impl<I: Iterator<Item = Result<TraceRequest, Error>>> Stretch<I> {
    /// What comes from `from` on, and before `until` where there is one.
    #[must_use]
    pub fn new(source: I, from: Span, until: Option<Span>) -> Stretch<I> {
        Stretch { source, from, until, ended: false }
    }
}

impl<I: Iterator<Item = Result<TraceRequest, Error>>> Iterator for Stretch<I> {
    type Item = Result<TraceRequest, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.source.next()? {
                Ok(request) if request.at < self.from => {}
                Ok(request) if self.until.is_some_and(|until| request.at >= until) => self.ended = true,
                Ok(request) => {
                    let at = Span::from_micros(request.at.as_micros() - self.from.as_micros());
                    return Some(Ok(TraceRequest { at, ..request }));
                }
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_counts_from_its_own_beginning() {
        let at = |seconds| Ok(TraceRequest { at: Span::from_secs(seconds), ..TraceRequest::default() });
        let source = [at(0), at(10), at(15), at(20)].into_iter();
        let part = Stretch::new(source, Span::from_secs(10), Some(Span::from_secs(20)));
        let found: Vec<_> = part.map(|one| one.unwrap().at).collect();
        assert_eq!(found, [Span::ZERO, Span::from_secs(5)]);
    }
}
