// For editors and tsc only: asc gets these two names from build.mjs (--use), once per dtype.
type real = number; // f32 | f64
type bits = number; // i32 | i64, the integer as wide as `real`
