//! Cutting holds for every way in which an input may arrive in pieces.

use super::*;

fn cut_in_pieces(input: &[u8], random: &mut fastrand::Rng) -> Vec<(u64, Vec<u8>)> {
    let mut lines = Lines::default();
    let mut found = Vec::new();
    let mut rest = input;
    loop {
        let (piece, after) = rest.split_at(random.usize(1..=rest.len().max(1)).min(rest.len()));
        rest = after;
        lines.space().extend_from_slice(piece);
        if piece.is_empty() {
            lines.finish();
        } else {
            lines.cut().unwrap();
        }
        loop {
            let taken = lines.take(random.usize(1..4)).unwrap();
            if taken.is_empty() {
                break;
            }
            found.extend(taken.into_iter().map(|line| (line.start, line.bytes.to_vec())));
        }
        assert_eq!(lines.read(), (input.len() - rest.len()) as u64);
        if piece.is_empty() {
            assert_eq!(lines.given(), input.len() as u64);
            return found;
        }
    }
}

#[test]
fn pieces_of_any_size_give_the_same_lines() {
    for seed in 0..2000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let input: Vec<u8> = (0..random.usize(0..60)).map(|_| *random.choice(b"ab\r\n\n").unwrap()).collect();
        let text = String::from_utf8(input.clone()).unwrap();
        let expected: Vec<_> = text.lines().map(|line| line.as_bytes().to_vec()).collect();
        let found = cut_in_pieces(&input, &mut random);
        for (start, line) in &found {
            let start = usize::try_from(*start).unwrap();
            assert_eq!(&input[start..start + line.len()], line, "seed {seed}");
        }
        let found: Vec<_> = found.into_iter().map(|(_, line)| line).collect();
        assert_eq!(found, expected, "seed {seed}, input {text:?}");
    }
}

#[test]
fn the_longest_line_passes_and_one_byte_more_does_not() {
    for (len, with_end, passes) in [
        (LINE_BYTES_MAX, "\n", true),
        (LINE_BYTES_MAX, "\r\n", true),
        (LINE_BYTES_MAX, "", true),
        (LINE_BYTES_MAX + 1, "\n", false),
        (LINE_BYTES_MAX + 1, "", false),
        (2 * LINE_BYTES_MAX, "", false),
    ] {
        let mut lines = Lines::starting_at(5);
        lines.space().extend_from_slice(b"first\n");
        lines.cut().unwrap();
        assert_eq!(lines.take(10).unwrap().len(), 1);
        lines.space().extend_from_slice(&vec![b'x'; len]);
        lines.space().extend_from_slice(with_end.as_bytes());
        let cut = lines.cut().and_then(|()| {
            if with_end.is_empty() {
                lines.finish();
            }
            lines.take(10)
        });
        match cut {
            Ok(lines) => assert!(passes && lines[0].bytes.len() == len, "{len} {with_end:?}"),
            Err(error) => assert_eq!((passes, error), (false, TooLong { start: 11 }), "{len} {with_end:?}"),
        }
    }
}

#[test]
fn lines_before_one_that_is_too_long_are_given_out() {
    let mut lines = Lines::default();
    lines.space().extend_from_slice(b"a\nb\n");
    lines.space().extend_from_slice(&vec![b'x'; LINE_BYTES_MAX + 1]);
    lines.space().extend_from_slice(b"\nc\n");
    lines.cut().unwrap();
    let taken: Vec<_> = lines.take(10).unwrap().into_iter().map(|line| line.bytes).collect();
    assert_eq!(taken, ["a", "b"]);
    assert_eq!(lines.take(10), Err(TooLong { start: 4 }));
}
