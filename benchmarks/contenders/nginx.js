// Parameters in one order, so that two spellings of a request share an answer: nginx alone cannot sort.
// The text stays as it was written; only its pieces change places.

function sorted(r) {
    const query = r.variables.args;
    return query ? query.split('&').sort().join('&') : '';
}

export default { sorted };
