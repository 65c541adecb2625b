// DP16KD, the block memory of the ECP5, for simulation: both ports on one clock, equal widths, no reset.
// What the device leaves undefined is unknown (x): a word that the other port writes in the cycle in which it is read,
// what a port shows after a write in WRITEMODE NORMAL, outputs before the first read. A use that this model does not
// cover ends the simulation. Source: Lattice FPGA-TN-02204; the bits of INITVAL as Yosys maps memories.
module DP16KD(
  input CLKA, CEA, OCEA, WEA, RSTA, CSA0, CSA1, CSA2,
  input ADA0, ADA1, ADA2, ADA3, ADA4, ADA5, ADA6, ADA7, ADA8, ADA9, ADA10, ADA11, ADA12, ADA13,
  input DIA0, DIA1, DIA2, DIA3, DIA4, DIA5, DIA6, DIA7, DIA8, DIA9, DIA10, DIA11, DIA12, DIA13, DIA14, DIA15, DIA16,
  DIA17,
  output DOA0, DOA1, DOA2, DOA3, DOA4, DOA5, DOA6, DOA7, DOA8, DOA9, DOA10, DOA11, DOA12, DOA13, DOA14, DOA15,
  DOA16, DOA17,
  input CLKB, CEB, OCEB, WEB, RSTB, CSB0, CSB1, CSB2,
  input ADB0, ADB1, ADB2, ADB3, ADB4, ADB5, ADB6, ADB7, ADB8, ADB9, ADB10, ADB11, ADB12, ADB13,
  input DIB0, DIB1, DIB2, DIB3, DIB4, DIB5, DIB6, DIB7, DIB8, DIB9, DIB10, DIB11, DIB12, DIB13, DIB14, DIB15, DIB16,
  DIB17,
  output DOB0, DOB1, DOB2, DOB3, DOB4, DOB5, DOB6, DOB7, DOB8, DOB9, DOB10, DOB11, DOB12, DOB13, DOB14, DOB15,
  DOB16, DOB17
);
  parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18;
  parameter REGMODE_A = "NOREG", REGMODE_B = "NOREG", WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL";
  parameter RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC", GSR = "ENABLED";
  parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000", CLKAMUX = "CLKA", CLKBMUX = "CLKB";
  parameter [319:0] INITVAL_00 = 320'd0;
  parameter [319:0] INITVAL_01 = 320'd0;
  parameter [319:0] INITVAL_02 = 320'd0;
  parameter [319:0] INITVAL_03 = 320'd0;
  parameter [319:0] INITVAL_04 = 320'd0;
  parameter [319:0] INITVAL_05 = 320'd0;
  parameter [319:0] INITVAL_06 = 320'd0;
  parameter [319:0] INITVAL_07 = 320'd0;
  parameter [319:0] INITVAL_08 = 320'd0;
  parameter [319:0] INITVAL_09 = 320'd0;
  parameter [319:0] INITVAL_0A = 320'd0;
  parameter [319:0] INITVAL_0B = 320'd0;
  parameter [319:0] INITVAL_0C = 320'd0;
  parameter [319:0] INITVAL_0D = 320'd0;
  parameter [319:0] INITVAL_0E = 320'd0;
  parameter [319:0] INITVAL_0F = 320'd0;
  parameter [319:0] INITVAL_10 = 320'd0;
  parameter [319:0] INITVAL_11 = 320'd0;
  parameter [319:0] INITVAL_12 = 320'd0;
  parameter [319:0] INITVAL_13 = 320'd0;
  parameter [319:0] INITVAL_14 = 320'd0;
  parameter [319:0] INITVAL_15 = 320'd0;
  parameter [319:0] INITVAL_16 = 320'd0;
  parameter [319:0] INITVAL_17 = 320'd0;
  parameter [319:0] INITVAL_18 = 320'd0;
  parameter [319:0] INITVAL_19 = 320'd0;
  parameter [319:0] INITVAL_1A = 320'd0;
  parameter [319:0] INITVAL_1B = 320'd0;
  parameter [319:0] INITVAL_1C = 320'd0;
  parameter [319:0] INITVAL_1D = 320'd0;
  parameter [319:0] INITVAL_1E = 320'd0;
  parameter [319:0] INITVAL_1F = 320'd0;
  parameter [319:0] INITVAL_20 = 320'd0;
  parameter [319:0] INITVAL_21 = 320'd0;
  parameter [319:0] INITVAL_22 = 320'd0;
  parameter [319:0] INITVAL_23 = 320'd0;
  parameter [319:0] INITVAL_24 = 320'd0;
  parameter [319:0] INITVAL_25 = 320'd0;
  parameter [319:0] INITVAL_26 = 320'd0;
  parameter [319:0] INITVAL_27 = 320'd0;
  parameter [319:0] INITVAL_28 = 320'd0;
  parameter [319:0] INITVAL_29 = 320'd0;
  parameter [319:0] INITVAL_2A = 320'd0;
  parameter [319:0] INITVAL_2B = 320'd0;
  parameter [319:0] INITVAL_2C = 320'd0;
  parameter [319:0] INITVAL_2D = 320'd0;
  parameter [319:0] INITVAL_2E = 320'd0;
  parameter [319:0] INITVAL_2F = 320'd0;
  parameter [319:0] INITVAL_30 = 320'd0;
  parameter [319:0] INITVAL_31 = 320'd0;
  parameter [319:0] INITVAL_32 = 320'd0;
  parameter [319:0] INITVAL_33 = 320'd0;
  parameter [319:0] INITVAL_34 = 320'd0;
  parameter [319:0] INITVAL_35 = 320'd0;
  parameter [319:0] INITVAL_36 = 320'd0;
  parameter [319:0] INITVAL_37 = 320'd0;
  parameter [319:0] INITVAL_38 = 320'd0;
  parameter [319:0] INITVAL_39 = 320'd0;
  parameter [319:0] INITVAL_3A = 320'd0;
  parameter [319:0] INITVAL_3B = 320'd0;
  parameter [319:0] INITVAL_3C = 320'd0;
  parameter [319:0] INITVAL_3D = 320'd0;
  parameter [319:0] INITVAL_3E = 320'd0;
  parameter [319:0] INITVAL_3F = 320'd0;
  localparam [64 * 320 - 1:0] INIT = {
    INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38, INITVAL_37,
    INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30, INITVAL_2F, INITVAL_2E,
    INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28, INITVAL_27, INITVAL_26, INITVAL_25,
    INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20, INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C,
    INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18, INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13,
    INITVAL_12, INITVAL_11, INITVAL_10, INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A,
    INITVAL_09, INITVAL_08, INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01,
    INITVAL_00
  };
  // how many address pins lie below the word's address
  localparam LOW = DATA_WIDTH_A == 36 ? 5 : DATA_WIDTH_A == 18 ? 4 : DATA_WIDTH_A == 9 ? 3 :
                   DATA_WIDTH_A == 4 ? 2 : DATA_WIDTH_A == 2 ? 1 : 0;

  wire [13:0] ad_a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
  wire [17:0] di_a = {
    DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1,
    DIA0
  };
  wire [13:0] ad_b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
  wire [17:0] di_b = {
    DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1,
    DIB0
  };
  assign {
    DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1,
    DOA0
  } = REGMODE_A == "OUTREG" ? register_a : latch_a;
  assign {
    DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1,
    DOB0
  } = REGMODE_B == "OUTREG" ? register_b : latch_b;

  reg [8:0] store [0:2047];  // the eight data bits of a byte and its ninth
  reg [17:0] latch_a, latch_b, register_a, register_b;

  wire one_word = LOW == 5;  // A only writes, B only reads, and each has half of the pins
  wire access_a = CEA & ~CSA0 & ~CSA1 & ~CSA2, access_b = CEB & ~CSB0 & ~CSB1 & ~CSB2;
  // the lowest address pins of wide words enable their bytes, without which nothing is written
  wire some_a = one_word ? |ad_a[3:0] : LOW == 4 ? |ad_a[1:0] : 1'b1, some_b = LOW == 4 ? |ad_b[1:0] : 1'b1;
  wire writes_a = access_a & WEA & some_a, writes_b = access_b & WEB & some_b & ~one_word;
  wire reads_a = access_a & ~WEA & ~one_word, reads_b = access_b & (~WEB | one_word);
  wire meet = ad_a >> LOW == ad_b >> LOW;

  integer i;
  initial begin
    for (i = 0; i < 2048; i = i + 1) store[i] = INIT[i / 2 * 20 + i % 2 * 9 +: 9];
    if (DATA_WIDTH_A != DATA_WIDTH_B || CSDECODE_A != "0b000" || CSDECODE_B != "0b000"
        || CLKAMUX != "CLKA" || CLKBMUX != "CLKB") begin
      $display("ERROR: DP16KD is used in a way that its model does not know");
      $finish;
    end
  end

  function [35:0] word(input [13:0] ad);
    case (LOW)
      5: word = {store[{ad[13:5], 2'd3}], store[{ad[13:5], 2'd2}], store[{ad[13:5], 2'd1}], store[{ad[13:5], 2'd0}]};
      4: word = {18'd0, store[{ad[13:4], 1'd1}], store[{ad[13:4], 1'd0}]};
      3: word = {27'd0, store[ad[13:3]]};
      2: word = {32'd0, store[ad[13:3]][4 * ad[2] +: 4]};
      1: word = {34'd0, store[ad[13:3]][2 * ad[2:1] +: 2]};
      default: word = {35'd0, store[ad[13:3]][ad[2:0]]};
    endcase
  endfunction

  task put(input [13:0] ad, input [35:0] di);
    case (LOW)
      5: begin
        if (ad[0]) store[{ad[13:5], 2'd0}] <= di[8:0];
        if (ad[1]) store[{ad[13:5], 2'd1}] <= di[17:9];
        if (ad[2]) store[{ad[13:5], 2'd2}] <= di[26:18];
        if (ad[3]) store[{ad[13:5], 2'd3}] <= di[35:27];
      end
      4: begin
        if (ad[0]) store[{ad[13:4], 1'd0}] <= di[8:0];
        if (ad[1]) store[{ad[13:4], 1'd1}] <= di[17:9];
      end
      3: store[ad[13:3]] <= di[8:0];
      2: store[ad[13:3]][4 * ad[2] +: 4] <= di[3:0];
      1: store[ad[13:3]][2 * ad[2:1] +: 2] <= di[1:0];
      default: store[ad[13:3]][ad[2:0]] <= di[0];
    endcase
  endtask

  // a read of which nobody knows whether it is one leaves nothing known
  always @(posedge CLKA) begin
    if (writes_a) put(ad_a, {one_word ? di_b : 18'd0, di_a});
    if (writes_b) put(ad_b, {18'd0, di_b});
    if (one_word) begin
      if (reads_b !== 1'b0) {latch_b, latch_a} <= reads_b !== 1'b1 || writes_a && meet ? 36'bx : word(ad_b);
    end else begin
      if (reads_a !== 1'b0) latch_a <= reads_a !== 1'b1 || writes_b && meet ? 18'bx : word(ad_a);
      if (reads_b !== 1'b0) latch_b <= reads_b !== 1'b1 || writes_a && meet ? 18'bx : word(ad_b);
      if (writes_a) latch_a <= WRITEMODE_A == "NORMAL" ? 18'bx : WRITEMODE_A == "WRITETHROUGH" ? di_a : word(ad_a);
      if (writes_b) latch_b <= WRITEMODE_B == "NORMAL" ? 18'bx : WRITEMODE_B == "WRITETHROUGH" ? di_b : word(ad_b);
    end
    if (OCEA) register_a <= latch_a;
    if (OCEB) register_b <= latch_b;
    if (RSTA) {latch_a, register_a} <= 36'bx;
    if (RSTB) {latch_b, register_b} <= 36'bx;
  end
endmodule
