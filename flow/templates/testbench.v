// Runs images through the core's host bus and compares the class sums with the golden model's.
//   iverilog -g2005 -o testbench core.v testbench.v && vvp testbench
// More images: vvp testbench +images=N, at most $images.
`timescale 1ns / 1ps
module testbench;
    localparam IMAGES = $images, WORDS = $words, CLASSES = $classes;
    localparam CONTROL = 28'h$control, STATUS = 28'h$status, PIXELS = 28'h$pixels, RESULTS = 28'h$results;

    reg clk = 0, rst = 1, request = 0, write = 0;
    reg [27:0] address = 0;
    reg [31:0] write_data = 0;
    wire acknowledge;
    wire [31:0] read_data;
    reg [31:0] pixels [0:IMAGES * WORDS - 1];
    reg [31:0] sums [0:IMAGES * CLASSES - 1];
    integer images, image, i, start, cycles = 0, wrong = 0;

    spikeloom_core core (
        .clk(clk), .rst(rst),
        .host__request(request), .host__write(write), .host__address(address), .host__write_data(write_data),
        .host__acknowledge(acknowledge), .host__read_data(read_data)
    );

    always #5 clk = ~clk;
    always @(posedge clk) cycles = cycles + 1;

    // One access: hold the request until the acknowledge; inputs change at the falling edge.
    task access(input to_write, input [27:0] where, input [31:0] value);
        begin
            @(negedge clk);
            request = 1; write = to_write; address = where; write_data = value;
            @(negedge clk);
            while (!acknowledge) @(negedge clk);
            request = 0;
        end
    endtask

    initial begin
        $$readmemh("pixels.hex", pixels);
        $$readmemh("sums.hex", sums);
        if (!$$value$$plusargs("images=%d", images)) images = 1;
        repeat (4) @(negedge clk);
        rst = 0;
        for (image = 0; image < images; image = image + 1) begin
            access(1, CONTROL, 1);
            for (i = 0; i < WORDS; i = i + 1) access(1, PIXELS, pixels[image * WORDS + i]);
            start = cycles;
            access(0, STATUS, 0);
            while (!read_data[1]) access(0, STATUS, 0);
            $$display("image %0d: %0d cycles", image, cycles - start);
            for (i = 0; i < CLASSES; i = i + 1) begin
                access(0, RESULTS + i, 0);
                if (read_data !== sums[image * CLASSES + i]) begin
                    $$display("image %0d, class %0d: golden %0d, hardware %0d",
                              image, i, $$signed(sums[image * CLASSES + i]), $$signed(read_data));
                    wrong = wrong + 1;
                end
            end
        end
        if (wrong == 0) $$display("PASS: %0d images, every class sum as golden", images);
        else $$display("FAIL: %0d class sums differ", wrong);
        $$finish;
    end
endmodule
