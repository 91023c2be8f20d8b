// The tool that the agents of this folder use, as a JSON Schema and as a function.

export const QUESTION = '84제곱미터는 몇 평이야?';
export const NAME = 'convert_area';
export const DESCRIPTION = '넓이의 단위를 바꾼다.';
export const PARAMETERS = {
  type: 'object',
  properties: {
    value: { type: 'number' },
    from_unit: { type: 'string', enum: ['제곱미터', '평'] },
    to_unit: { type: 'string', enum: ['제곱미터', '평'] },
  },
  required: ['value', 'from_unit', 'to_unit'],
};
// One 평 is a square of six 자, 20/11 m.
const SQUARE_METRES = { 제곱미터: 1, 평: 400 / 121 };

// An area in another unit, to two digits, as JSON; prints the call.
export function convertArea({ value, from_unit, to_unit }) {
  console.log(NAME, value, from_unit, to_unit);
  const converted = (value * SQUARE_METRES[from_unit]) / SQUARE_METRES[to_unit];
  return `{"value": ${Math.round(converted * 100) / 100}, "unit": "${to_unit}"}`;
}
