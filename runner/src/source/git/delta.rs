//! Applies a delta of a pack: copy from the base, or insert.
//!
//! Every length and offset is checked against base, instructions and the announced sizes, so a
//! crafted delta gives no bytes rather than wrong ones.
//!
//! Source: gitformat-pack(5), "Deltified representation".

/// Returns the object that `delta` makes of `base`, or none if the delta is malformed or its result
/// would be longer than `bytes_max`.
pub(super) fn apply(base: &[u8], delta: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let mut rest = delta;
    let base_len = size(&mut rest)?;
    let result_len = size(&mut rest)?;
    if base_len != base.len() || result_len > bytes_max {
        return None;
    }
    let mut out = Vec::with_capacity(result_len);
    while let Some((&code, after)) = rest.split_first() {
        rest = after;
        let piece = match code {
            0 => return None,
            1..=0x7f => {
                let (literal, after) = rest.split_at_checked(usize::from(code))?;
                rest = after;
                literal
            }
            _ => {
                let from = little_endian(&mut rest, code, 4)?;
                let len = little_endian(&mut rest, code >> 4, 3)?;
                let len = if len == 0 { 0x1_0000 } else { len };
                base.get(from..from.checked_add(len)?)?
            }
        };
        if out.len() + piece.len() > result_len {
            return None;
        }
        out.extend_from_slice(piece);
    }
    (out.len() == result_len).then_some(out)
}

fn size(rest: &mut &[u8]) -> Option<usize> {
    let mut value = 0_usize;
    for shift in (0..usize::BITS - 7).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Reads a number of which only the bytes named by the low `width` bits of `present` are written.
fn little_endian(rest: &mut &[u8], present: u8, width: u32) -> Option<usize> {
    let mut value = 0_usize;
    for position in 0..width {
        if present >> position & 1 == 1 {
            let (&byte, after) = rest.split_first()?;
            *rest = after;
            value |= usize::from(byte) << (8 * position);
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_and_inserts_make_the_result() {
        let delta = [10, 7, 0x91, 2, 4, 3, b'x', b'y', b'z'];
        assert_eq!(apply(b"0123456789", &delta, 100).as_deref(), Some(&b"2345xyz"[..]));
    }

    #[test]
    fn malformed_deltas_give_nothing() {
        let base = b"0123456789";
        let cases: [&[u8]; 8] = [
            &[],
            &[9, 1, 1, b'a'],
            &[10, 2, 1, b'a'],
            &[10, 1, 2, b'a', b'b'],
            &[10, 1, 0],
            &[10, 4, 0x91, 8, 4],
            &[10, 4, 0x91, 8],
            &[0xff; 12],
        ];
        for delta in cases {
            assert_eq!(apply(base, delta, 100), None, "{delta:?}");
        }
        assert_eq!(apply(base, &[10, 5, 5, 1, 2, 3, 4, 5], 4), None);
    }
}
